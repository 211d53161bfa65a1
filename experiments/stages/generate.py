"""The stage that generates a source's transitions: part by part, so that none is repeated."""

import json
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.sources import Source
from dawm_jax.sources.base import States
from dawm_jax.sources.generate import Synthesis, default_chunk, synthesize_parts
from dawm_jax.training.devices import device_mesh
from dawm_jax.types import Transition
from experiments.run.context import Run
from experiments.store import files, parts, transitions
from experiments.store.metrics import StageProgress
from experiments.store.stage import Stage, StageFiles
from experiments.system.machine import enough_memory, pool_memory
from experiments.system.processes import on_first
from experiments.system.provenance import commit
from experiments.system.signals import Interrupted, postponed
from experiments.system.tracing import trace


@enough_memory("synthesis.chunk or synthesis.transitions")
def generate(
    run: Run, stage: Stage, source: Source, states: States
) -> tuple[Transition | StoredTransitions, dict[str, Any]]:
    """The synthetic transitions, on the device if they fit into its budget, and their facts.

    Raises:
        UserError: another process is working on the stage.
        Interrupted: a signal requested a stop; the finished parts remain.
    """
    with stage.folder(run.workdir) as folder:

        def join(rate: float | None) -> None:
            facts = transitions.join(sorted(folder.parts.glob("*.npz")), folder.transitions)
            more = {"commit": commit(), "transitions_per_second": rate}
            file = {"file": str(folder.transitions.relative_to(run.workdir))}
            files.write_sealed_json(folder.record, {**facts, **more, **file})

        if run.profile:
            _trace(run, stage.name, source, states)
        results = (folder.transitions, folder.record)
        if on_first(lambda: all(files.sound(path, stage.name) for path in results)):
            print(f"{stage.name}: found", flush=True)
        else:
            rate = _generate_parts(run, stage.name, folder, source, states)
            on_first(join, rate)
        on_first(files.remove, folder.parts)
        memory = on_first(pool_memory, run.config.pool_memory)
        opened = transitions.opened(folder.transitions, run.dataset, memory)
        return opened, json.loads(folder.record.read_text())


def _generate_parts(
    run: Run, name: str, folder: StageFiles, source: Source, states: States
) -> float | None:
    """Generates the missing parts; returns transitions per second, None if none was missing."""
    settings = run.components.synthesis
    units = source.units(settings.transitions)
    done = on_first(parts.sound_end, folder.parts, name)
    first, started, count = done, monotonic(), 0
    with postponed() as stop, StageProgress(name, units, done) as progress:
        for end, part in _parts(run, settings, source, states, done):
            path = parts.path_of(folder.parts, done, end)
            on_first(transitions.write_part, path, part, run.dataset)
            done, count = end, count + len(part.reward)
            progress.update(done)
            if stop():
                raise Interrupted(f"{name} up to unit {done} of {units}")
    return count / (monotonic() - started) if done > first else None


def _parts(
    run: Run, settings: Synthesis, source: Source, states: States, start: int = 0
) -> Iterator[tuple[int, Transition]]:
    # All sources share a key: they start from the same recorded steps.
    key, mesh = run.key("synthesis"), device_mesh()
    return synthesize_parts(source, states, run.dataset, settings, key, start=start, mesh=mesh)


def _trace(run: Run, name: str, source: Source, states: States) -> None:
    """Writes a trace of one chunk of units, which is dropped."""
    settings = run.components.synthesis
    units = source.units(settings.transitions)
    few = min(settings.chunk or default_chunk(device_mesh()), units)
    one = replace(settings, transitions=max(1, few * settings.transitions // units))
    trace(run.workdir, name, "one chunk", lambda: list(_parts(run, one, source, states)))
