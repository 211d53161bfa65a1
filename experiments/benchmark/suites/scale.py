"""How the cost grows with the amounts of data, seeds and devices: points for fitted exponents."""

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
from experiments.benchmark.cases import DAWM_JAX, Case, Group, Groups, timed
from experiments.benchmark.random_data import random_contexts, random_dataset
from experiments.benchmark.scope import Options
from experiments.benchmark.suites.data import load_cases
from experiments.benchmark.suites.learners import learner_case
from experiments.benchmark.suites.sampling import sample_case, synthesis_case
from experiments.store import files, transitions

NARROW = "tiny"  # a network so small that many transitions take little time
MAX_ROWS = 10_000  # of the random data to which the models' normalizers are fitted

Point = Callable[[int, ExitStack], Case]  # the case for one value of a quantity


def groups(options: Options) -> Groups:
    """One group for each quantity; its points are measured in turn."""
    scope = options.scope
    devices = [2**k for k in range(len(jax.devices()).bit_length())]
    quantities: dict[str, tuple[Point, Iterable[int]]] = {
        "data": (_load_case, scope.scale_data),
        "seeds": (partial(_seeds_case, options), scope.scale_seeds),
        "window length": (partial(_sample_case, options, "horizon"), scope.scale_horizons),
        "width": (partial(_sample_case, options, "width"), scope.scale_widths),
        "devices": (partial(_devices_case, options), devices if len(devices) > 1 else []),
        "transitions": (partial(_transitions_case, options), scope.scale_transitions),
    }
    for name, (point, values) in quantities.items():
        if values:
            yield Group("scale", name, {}, partial(_cases, point, values), compared=False)


def exponent(points: Iterable[tuple[float, float]]) -> float:
    """The e of seconds = c size^e, by least squares on logarithms, from pairs (size, seconds)."""
    size, seconds = np.log(np.array(list(points))).T
    return float(np.polyfit(size, seconds, 1)[0])


def _cases(point: Point, values: Iterable[int], stack: ExitStack) -> list[Case]:
    return [point(value, stack) for value in values]


def _load_case(count: int, stack: ExitStack) -> Case:
    """`dawm_jax.load` of `count` transitions in episodes of 1,000 steps, for the first time."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
    first, _ = load_cases(folder, count, max(1, count // 1_000))
    return Case(DAWM_JAX, first.work, first.call, {"data": count}, warm_up=False)


def _seeds_case(options: Options, seeds: int, stack: ExitStack) -> Case:
    scope = options.scope
    return learner_case("td3bc", scope.hidden, scope.transitions, seeds, scope.min_updates)


def _rows(options: Options) -> int:
    return min(MAX_ROWS, options.scope.transitions)


def _initial_state(model: WorldModel, options: Options) -> ModelState:
    windows = WindowSet.of(random_dataset(_rows(options)), model.horizon)
    return model.init(jax.random.key(0), windows)


def _sample_case(options: Options, setting: str, value: int, stack: ExitStack) -> Case:
    """A batch of windows from the network of the first size, with one setting changed."""
    batches = options.scope.sampling_batches
    model = sizes.world_model(options.sizes[0], **{setting: value})
    state = _initial_state(model, options)
    name = {"horizon": "window length"}.get(setting, setting)
    return sample_case(model, state, batches[len(batches) // 2], Sampling(), {name: value})


def _transitions_case(options: Options, count: int, stack: ExitStack) -> Case:
    """`count` synthetic transitions from a narrow network, written to disk as in a run."""
    source = sizes.source(NARROW)
    state = _initial_state(source.world_model, options)
    chunk = options.scope.sampling_batches[-1]
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
    settings, write = {"transitions": count}, partial(_write, folder)
    return synthesis_case(source, state, count, chunk, _rows(options), settings, write)


def _write(folder: Path, numbered: Iterable[tuple[int, Transition]], dataset: Dataset) -> None:
    """Writes the parts and joins them into one file, with no more than one part in memory."""
    parts = []
    for end, part in numbered:
        parts.append(folder / f"{end:09}.npz")
        transitions.write_part(parts[-1], part, dataset)
    transitions.join(parts, folder / "transitions.npz")
    for path in parts:
        files.remove(path)


def _devices_case(options: Options, count: int, stack: ExitStack) -> Case:
    """One batch split over `count` devices; each holds all parameters."""
    mesh = Mesh(np.array(jax.devices()[:count])[None], (SEED, DATA))
    model = sizes.world_model(NARROW)
    state = place(_initial_state(model, options), mesh)
    batch = options.scope.sampling_batches[-1] * len(jax.devices())
    context, keys = place(random_contexts(batch), mesh, Split(DATA))
    sample = jax.jit(model.sample)
    call = timed(lambda: sample(state, context, keys))
    return Case(DAWM_JAX, {"windows": batch}, call, {"devices": count})
