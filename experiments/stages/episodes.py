"""The stage that chains a source's rollouts into episodes, part by part."""

import json
from pathlib import Path
from time import monotonic
from typing import Any

from dawm_jax.export.rows import EpisodeRows
from dawm_jax.sources import RolloutSource
from dawm_jax.sources.base import States
from dawm_jax.sources.episodes import Chaining, Lanes, begin, extended, lanes_for
from dawm_jax.sources.generate import default_chunk
from dawm_jax.training.devices import device_mesh
from experiments.run.context import Run
from experiments.stages.models import states_of
from experiments.stages.train import Trained
from experiments.store import episodes, files, parts
from experiments.store.metrics import StageProgress
from experiments.store.stage import Stage, StageFiles, identity
from experiments.system.machine import enough_memory
from experiments.system.provenance import commit
from experiments.system.signals import Interrupted, postponed

VERSION = 1  # raised with every change of the chaining that changes episodes


@enough_memory("--chunk")
def chain(
    run: Run,
    name: str,
    source: RolloutSource,
    trained: dict[str, Trained],
    transitions: int,
    steps: int,
    chunk: int | None,
) -> tuple[EpisodeRows, dict[str, Any]]:
    """Whole episodes of the source `name` with `transitions` transitions or a few more.

    Args:
        steps: of an episode that does not end before.
        chunk: rollouts in one call (default: the run's).

    Returns:
        The episodes on disk, and their facts.

    Raises:
        UserError: another process is working on the stage.
        Interrupted: a signal requested a stop; the finished parts remain.
    """
    settings = [VERSION, identity(source), transitions, steps, run.config.seed]
    parents = (run.data_stage, *(model.stage for model in trained.values()))
    stage = Stage(f"episodes-{name}", settings, parents)
    with stage.folder(run.workdir) as folder:
        if all(files.sound(path, stage.name) for path in (folder.episodes, folder.record)):
            print(f"{stage.name}: found", flush=True)
        else:
            chaining = Chaining(steps, run.dataset.discount, run.dataset.return_scale)
            rate = _make_parts(
                run, stage.name, folder, source, states_of(trained), chaining, transitions, chunk
            )
            made = _made(folder)
            found = episodes.complete(made, transitions)
            facts = episodes.join(made, found, folder.episodes)
            more = {"commit": commit(), "transitions_per_second": rate}
            files.write_sealed_json(folder.record, {**facts, **more})
        files.remove(folder.parts)
        return EpisodeRows.of(folder.episodes), json.loads(folder.record.read_text())


def _made(folder: StageFiles) -> list[Path]:
    return sorted(folder.parts.glob("*.npz"))


def _make_parts(
    run: Run,
    name: str,
    folder: StageFiles,
    source: RolloutSource,
    states: States,
    chaining: Chaining,
    transitions: int,
    chunk: int | None,
) -> float | None:
    """Makes the missing parts; returns transitions per second, None if none was missing."""
    mesh = device_mesh()
    devices = mesh.size if mesh else 1
    chunk = chunk or run.components.synthesis.chunk or default_chunk(mesh)
    starts, key = source.inputs(run.dataset), run.key("episodes")
    done = parts.sound_end(folder.parts, name)
    found = episodes.complete(_made(folder), transitions)
    before = found.transitions
    if done:
        lanes: Lanes = episodes.lanes_after(_made(folder)[-1])
    else:
        few = lanes_for(transitions, chaining.steps, chunk)
        lanes = begin(source, states, starts, key, -(-few // devices) * devices)
    count = len(lanes.episode)
    mesh = mesh if count % devices == 0 else None  # resumed with another number of devices
    rollouts = max(1, chunk // count)
    started = monotonic()
    with postponed() as stop, StageProgress(name, transitions, found.made) as progress:
        extending = extended(source, states, starts, lanes, chaining, key, rollouts, mesh)
        while not found.done:
            after, rows = next(extending)
            path = parts.path_of(folder.parts, done, done + 1)
            episodes.write_part(path, after, rows, run.dataset)
            found.add(*episodes.ended(rows), int(rows.count.sum()))
            done += 1
            progress.update(transitions if found.done else min(found.made, transitions - 1))
            if stop():
                raise Interrupted(f"{name} up to transition {found.made} of {transitions}")
    made = found.transitions - before
    return made / (monotonic() - started) if made else None
