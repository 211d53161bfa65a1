"""A training stage: resumes from its last checkpoint and trains to the end."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.errors import NonFiniteError, UserError
from dawm_jax.training.devices import SEED, Split, fetch, placed_shapes
from dawm_jax.training.feeding import Streamed
from dawm_jax.training.loop import train
from dawm_jax.training.protocol import Component, Data
from dawm_jax.types import Array
from experiments.run.config import chunk_length
from experiments.run.context import Run
from experiments.stages.clock import Clock
from experiments.store import files
from experiments.store.checkpoints import Checkpoints
from experiments.store.metrics import StageMetrics, StageProgress
from experiments.store.stage import Stage, StageFiles
from experiments.system.machine import training_mesh
from experiments.system.processes import on_first
from experiments.system.provenance import commit
from experiments.system.signals import Interrupted, postponed
from experiments.system.tracing import trace_updates

Returns = dict[str, list[list[float]]]  # of each policy, a list per seed; may be empty
Measure = Callable[[Any], Returns]  # of a state; the first policy's mean selects the best state


@dataclass(frozen=True)
class Trained:
    """The result of a training stage, with its record."""

    stage: Stage
    state: Any
    # commit, metrics (means of the last chunk), metrics_updates (its length), updates_per_second,
    # curve
    record: dict[str, Any]


def train_component(
    run: Run,
    stage: Stage,
    component: Component,
    state: Any,
    data: Data | Streamed,
    key: Array,
    *,
    save_every: int,
    seeds: int | None = None,
    measure: Measure | None = None,
) -> Trained:
    """`train_stage` with the folder and the chunk length of a run."""
    return train_stage(
        run.workdir,
        stage,
        component,
        state,
        data,
        key,
        chunk=chunk_length(run.config, component),
        save_every=save_every,
        seeds=seeds,
        measure=measure,
        profile=run.profile,
    )


def train_stage(
    workdir: Path,
    stage: Stage,
    component: Component,
    state: Any,
    data: Data | Streamed,
    key: Array,
    *,
    chunk: int,
    save_every: int,
    seeds: int | None = None,
    measure: Measure | None = None,
    profile: bool = False,
) -> Trained:
    """Trains `component` from its initial state or its last checkpoint to the end.

    It trains and saves on all devices; the state that is measured and returned is on one.

    Args:
        state: the initial state.
        chunk: updates per compiled call; a signal takes effect after each.
        save_every: updates between checkpoints.
        seeds: the length of the leading seed axis of state and key; None without one.
        measure: evaluates each checkpoint for a point of the record's curve, in the first of
            several processes.
        profile: whether to trace a few updates, even of a finished stage.

    Raises:
        UserError: another process is working on the stage, or a number is not finite.
        Interrupted: a signal stopped the stage, after saving.
    """
    mesh = training_mesh(seeds)

    def on_one_device(state: Any) -> Any:
        return state if mesh is None else jax.tree.map(jnp.asarray, fetch(state, mesh))

    def measured(state: Any) -> Returns:
        return on_first(measure, on_one_device(state)) if measure else {}

    with (
        stage.folder(workdir) as folder,
        postponed() as stop,
        closing(_Results(folder, component.steps, save_every, chunk, measured)) as results,
    ):
        done = results.find()
        if done:
            split = Split(SEED) if seeds else Split()
            state = results.load(placed_shapes(jax.eval_shape(lambda s: s, state), mesh, split))
        if profile:
            batched = seeds is not None
            trace_updates(
                workdir, stage.name, component, state, data, key, seeds=batched, mesh=mesh
            )
        if done == component.steps and results.measured:
            print(f"{stage.name}: found, {done} updates", flush=True)
            return Trained(stage, on_one_device(state), results.record)
        results.measure(state)
        clock = Clock(done)
        chunks = train(
            component,
            state,
            data,
            key,
            chunk=chunk,
            start=done,
            seeds=seeds is not None,
            mesh=mesh,
        )
        try:
            with (
                StageMetrics(workdir, stage, done) as writer,
                StageProgress(stage.name, component.steps, done) as progress,
            ):
                for done, state, metrics in clock.timed(chunks):
                    writer.write(done, metrics)
                    means = {k: float(np.mean(v)) for k, v in metrics.items()}
                    name, loss = _loss(means)
                    progress.update(done, f"{name} {loss:.4g}", clock.rate)
                    if results.due(done) or stop():
                        results.save(done, state, means, clock.rate * (seeds or 1))
                    if not stop():
                        results.measure(state)
                    if stop():
                        raise Interrupted(f"{stage.name} up to update {done} of {component.steps}")
        except NonFiniteError as error:
            raise UserError(
                f"{stage.name}: {error} The run can resume from update {results.done}."
            ) from None
        return Trained(stage, on_one_device(state), results.record)


class _Results:
    """The results of a training stage on disk: its last states, the best one, and the curve.

    A state is saved before it is measured, so that a failed measurement can be repeated. The curve
    has its own file; points before a step are also in the step's record.
    """

    def __init__(
        self, folder: StageFiles, steps: int, save_every: int, chunk: int, measure: Measure
    ):
        self.stage, self.steps, self.every, self.returns = folder.stage, steps, save_every, measure
        self.chunk = chunk
        self.last = Checkpoints(folder.checkpoints, self.stage, keep=2)
        self.best = Checkpoints(folder.best, self.stage, keep=1)
        self.curve = folder.curve
        self.done = 0  # updates of the last saved state
        self.record: dict[str, Any] = {"metrics": {}, "curve": []}

    def close(self) -> None:
        self.last.close()
        self.best.close()

    def find(self) -> int:
        """The number of updates of the last undamaged state; 0 if there is none."""
        step = self.last.newest()
        if step is not None:
            self.done, self.record = step, self.last.record(step)
            self.record["curve"] += [p for p in on_first(self._points) if p["updates"] == step]
        return self.done

    def load(self, template: Any) -> Any:
        """The state that `find` found, with the structure of `template`."""
        return self.last.load(self.done, template)

    def due(self, done: int) -> bool:
        """Whether to save and measure the state after `done` updates."""
        return done % self.every == 0 or done == self.steps

    @property
    def measured(self) -> bool:
        """Whether the last saved state is measured, or need not be."""
        points = [0, *(point["updates"] for point in self.record["curve"])]
        return self.done in points or not self.due(self.done)

    def save(self, done: int, state: Any, metrics: dict[str, float], rate: float | None) -> None:
        """Saves a state, before it is measured."""
        self.done = done
        self.record = {
            "commit": commit(),
            "metrics": metrics,
            "metrics_updates": self.chunk,
            "updates_per_second": rate,
            "curve": self.record["curve"],
        }
        self.last.save(done, state, self.record)

    def measure(self, state: Any) -> None:
        """Measures the last saved state, unless it is measured, and saves it if it is the best."""
        if self.measured:
            return
        returns = self.returns(state)
        first = next(iter(returns.values()), None)
        score = -_loss(self.record["metrics"])[1] if first is None else float(np.mean(first))
        best = self.best.newest()
        if best is None or score > self.best.record(best)["score"]:
            self.best.save(self.done, state, {"score": score})
        self.record["curve"].append({"updates": self.done, "returns": returns})
        on_first(files.write_sealed_json, self.curve, self.record["curve"])

    def _points(self) -> list[dict[str, Any]]:
        """The points in the file of the curve."""
        return json.loads(self.curve.read_text()) if files.sound(self.curve, self.stage) else []


def _loss(metrics: dict[str, float]) -> tuple[str, float]:
    """The metric that represents a stage's progress."""
    return next((name, value) for name, value in metrics.items() if "loss" in name)
