"""How cost grows with what is made, read, trained and computed on: points for fitted exponents."""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import jax
import numpy as np

from dawm_jax.data.windows import WindowSet
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.models.window_diffusion import ModelState, WorldModel
from dawm_jax.training.devices import DATA, SEED, Mesh, Split, place
from dawm_jax.types import Dataset, Transition
from experiments.benchmark import sizes
from experiments.benchmark.cases import OURS, Case, Group, Groups, blocking
from experiments.benchmark.random_data import random_contexts, random_dataset
from experiments.benchmark.scope import Options
from experiments.benchmark.suites.data import load_cases
from experiments.benchmark.suites.learners import learner_case
from experiments.benchmark.suites.sampling import sample_case, synthesis_case
from experiments.store import files
from experiments.store import transitions as pool

NARROW = "tiny"  # so that many transitions take little time
ROWS = 10_000  # of random data that models are made for, at most


def groups(options: Options) -> Groups:
    """One for each quantity that grows; its points are measured in turn."""
    scope = options.scope
    devices = [2**k for k in range(len(jax.devices()).bit_length())]
    sweeps: dict[str, tuple[Callable[[int, ExitStack], Case], Iterable[int]]] = {
        "data": (_load, scope.scale_data),
        "seeds": (partial(_seeds, options), scope.scale_seeds),
        "window length": (partial(_sample, options, "horizon"), scope.scale_horizons),
        "width": (partial(_sample, options, "width"), scope.scale_widths),
        "devices": (partial(_devices, options), devices if len(devices) > 1 else []),
        "transitions": (partial(_transitions, options), scope.scale_transitions),
    }
    for name, (make, points) in sweeps.items():
        if points:
            yield Group("scale", name, {}, partial(_prepare, make, points), compared=False)


def exponent(points: Iterable[tuple[float, float]]) -> float:
    """e of seconds = c size^e, by least squares of logarithms."""
    size, seconds = np.log(np.array(list(points))).T
    return float(np.polyfit(size, seconds, 1)[0])


def _prepare(
    make: Callable[[int, ExitStack], Case], points: Iterable[int], stack: ExitStack
) -> list[Case]:
    return [make(point, stack) for point in points]


def _load(transitions: int, stack: ExitStack) -> Case:
    """`dawm_jax.load` for the first time, of episodes of 1,000 steps."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
    first, _ = load_cases(folder, transitions, max(1, transitions // 1_000))
    return Case(OURS, first.work, first.call, {"data": transitions}, warm_up=False)


def _seeds(options: Options, seeds: int, stack: ExitStack) -> Case:
    scope = options.scope
    updates = scope.least_updates
    return learner_case("td3bc", scope.hidden, scope.transitions, seeds, updates)


def _rows(options: Options) -> int:
    return min(ROWS, options.scope.transitions)


def _started(model: WorldModel, options: Options) -> ModelState:
    windows = WindowSet.of(random_dataset(_rows(options)), model.horizon)
    return model.init(jax.random.key(0), windows)


def _sample(options: Options, setting: str, value: int, stack: ExitStack) -> Case:
    """A batch of the first size's network, of another window length or width."""
    batch = options.scope.sampled[len(options.scope.sampled) // 2]
    model = sizes.world_model(options.sizes[0], **{setting: value})
    state = _started(model, options)
    name = {"horizon": "window length"}.get(setting, setting)
    return sample_case(model, state, batch, Sampling(), {name: value})


def _transitions(options: Options, transitions: int, stack: ExitStack) -> Case:
    """Synthetic transitions from a narrow network, kept on disk as a run keeps them."""
    model = sizes.world_model(NARROW)
    state = _started(model, options)
    inverse = sizes.components(NARROW).inverse_dynamics
    batch = options.scope.sampled[-1]
    settings = {"transitions": transitions}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
    keep = partial(_keep, folder)
    return synthesis_case(model, state, inverse, transitions, batch, _rows(options), settings, keep)


def _keep(folder: Path, made: Iterable[tuple[int, Transition]], dataset: Dataset) -> None:
    """Parts, and one file of them all: no more than a part is in memory, however many there are."""
    parts = []
    for end, part in made:
        parts.append(folder / f"{end:09}.npz")
        pool.write_part(parts[-1], part, dataset)
    pool.join(parts, folder / "transitions.npz")
    for path in parts:
        files.remove(path)


def _devices(options: Options, count: int, stack: ExitStack) -> Case:
    """One batch shared by so many devices; the parameters are on each."""
    mesh = Mesh(np.array(jax.devices()[:count])[None], (SEED, DATA))
    model = sizes.world_model(NARROW)
    state = place(_started(model, options), mesh)
    batch = options.scope.sampled[-1] * len(jax.devices())
    context, keys = place(random_contexts(batch), mesh, Split(DATA))
    sample = jax.jit(model.sample)
    work = {"windows": batch}
    call = blocking(lambda: sample(state, context, keys))
    return Case(OURS, work, call, {"devices": count})
