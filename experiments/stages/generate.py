"""The stage that generates the synthetic transitions: part by part, so that none is made twice."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.sources.generate import Synthesis, synthesize_parts
from dawm_jax.training.devices import device_mesh
from dawm_jax.types import Transition
from experiments.run.context import Run
from experiments.stages.sizes import sized
from experiments.store import files
from experiments.store import transitions as pool
from experiments.store.metrics import StageProgress
from experiments.store.stage import Stage
from experiments.system.machine import enough_memory, pool_memory
from experiments.system.processes import on_first
from experiments.system.provenance import commit
from experiments.system.signals import Interrupted, postponed
from experiments.system.tracing import trace


@enough_memory("synthesis.chunk or synthesis.transitions")
def generate(
    run: Run, stage: Stage, model_state: Any, idm_state: Any
) -> tuple[Transition | StoredTransitions, dict[str, Any]]:
    """The generated transitions, on the device if they fit into its budget, and their facts.

    Raises:
        UserError: another process is at work on the stage.
        Interrupted: a signal asked to stop; the finished parts are kept.
    """
    states = (model_state, idm_state)
    with stage.folder(run.workdir) as folder:
        arrays, record = folder / "transitions.npz", folder / "record.json"

        def join(rate: float | None) -> None:
            facts = pool.join(sorted((folder / "parts").glob("*.npz")), arrays)
            more = {"commit": commit(), "transitions_per_second": rate}
            file = {"file": str(arrays.relative_to(run.workdir))}
            files.write_sealed_json(record, {**facts, **more, **file})

        if run.profile:
            _trace(run, stage.name, sized(run, stage.name, folder, *states), *states)
        if on_first(lambda: all(files.sound(path, stage.name) for path in (arrays, record))):
            print(f"{stage.name}: found", flush=True)
        else:
            settings = sized(run, stage.name, folder, *states)
            rate = _make_parts(run, stage.name, folder / "parts", settings, *states)
            on_first(join, rate)
        on_first(files.remove, folder / "parts")
        memory = on_first(pool_memory, run.config.pool_memory)
        return pool.opened(arrays, run.dataset, memory), json.loads(record.read_text())


def _make_parts(
    run: Run, name: str, folder: Path, settings: Synthesis, model_state: Any, idm_state: Any
) -> float | None:
    """Makes the parts that are not there; returns transitions a second, None if all were there.

    A part is named by the number of its first window and the one after its last.
    """
    steps = run.components.world_model.horizon - 1
    windows = settings.windows(run.components.world_model.horizon)
    done = on_first(_resume, folder, name)
    first, started, transitions = done, monotonic(), 0
    with postponed() as asked, StageProgress(name, windows * steps, done * steps) as progress:
        for end, part in _chunks(run, settings, model_state, idm_state, done):
            path = folder / f"{done:09}-{end:09}.npz"
            on_first(pool.write_part, path, part, run.dataset)
            done, transitions = end, transitions + len(part.reward)
            progress.update(done * steps)
            if asked():
                raise Interrupted(f"{name} up to window {done} of {windows}")
    return transitions / (monotonic() - started) if done > first else None


def _chunks(
    run: Run, settings: Synthesis, model_state: Any, idm_state: Any, start: int = 0
) -> Iterator[tuple[int, Transition]]:
    return synthesize_parts(
        run.components.world_model,
        model_state,
        run.components.inverse_dynamics,
        idm_state,
        run.dataset,
        settings,
        run.key("synthesis"),
        start=start,
        mesh=device_mesh(),
    )


def _trace(run: Run, name: str, settings: Synthesis, model_state: Any, idm_state: Any) -> None:
    """Writes a trace of one chunk of windows, which is dropped."""
    horizon = run.components.world_model.horizon
    windows = min(settings.chunk, settings.windows(horizon))
    one = replace(settings, transitions=windows * (horizon - 1))
    what = f"a chunk of {windows} windows"
    trace(run.workdir, name, what, lambda: list(_chunks(run, one, model_state, idm_state)))


def _resume(folder: Path, name: str) -> int:
    """The number of windows in the parts that are there; what is after a damaged one is deleted."""
    folder.mkdir(exist_ok=True)
    sound = list(_sound_parts(folder, name))
    for other in set(folder.glob("*.npz")) - set(sound):
        files.remove(other)
    return _end(sound[-1]) if sound else 0


def _sound_parts(folder: Path, name: str) -> Iterator[Path]:
    """The parts from the first window on, up to the first that is not there or damaged."""
    end = 0
    for seal in sorted(folder.glob("*.npz.sha256")):  # which a lost part still has
        path = seal.with_suffix("")
        if path.name.startswith(f"{end:09}-") and files.sound(path, name):
            yield path
            end = _end(path)


def _end(part: Path) -> int:
    return int(part.stem.split("-")[1])
