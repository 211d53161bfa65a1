"""What the stages of a run share: its settings, folder, data, and the way a stage is trained."""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dawm_jax.data.holdout import hold_out
from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import DataStatistics
from dawm_jax.training import Component, Data, train
from dawm_jax.types import Array, Dataset, Transition
from experiments.components import Components, chunk_length
from experiments.metrics import StageMetrics, StageProgress
from experiments.stages import Checkpoints, Stage
from experiments.versions import commit


@dataclass(frozen=True)
class Trained:
    """The end of a training stage, and what was measured on the way."""

    stage: Stage
    state: Any
    record: dict[str, Any]  # metrics (the last chunk's means), updates_per_second, curve, commit


@dataclass(frozen=True)
class Run:
    """One run. Its data are split once: models are measured on episodes they never saw."""

    config: ConfigDict
    components: Components
    workdir: Path
    dataset: Dataset

    @cached_property
    def transitions(self) -> Transition:
        """Every recorded step."""
        return to_transitions(self.dataset)

    @cached_property
    def statistics(self) -> DataStatistics:
        """What the learners are told of the recorded data."""
        return DataStatistics.of(self.dataset)

    @cached_property
    def splits(self) -> tuple[Dataset, Dataset | None]:
        """The episodes that models are trained on, and the held-out ones."""
        return hold_out(self.dataset, self.config.held_out, self.config.seed)

    @cached_property
    def data_stage(self) -> Stage:
        """Stands for the data: their contents, how they are read, and where they come from."""
        dataset = self.dataset
        digest = hashlib.sha256()
        for array in (*jax.tree.leaves(dataset.episodes), dataset.action_low, dataset.action_high):
            digest.update(np.asarray(array))
        environment = dataset.environment.to_json() if dataset.environment else None
        settings = [dataset.discount, dataset.return_scale, environment]
        return Stage("data", [digest.hexdigest(), *settings])

    def key(self, name: str, seed: int = 0) -> Array:
        """The random key of a part of the run, for the first seed or the `seed`-th after it."""
        return jax.random.fold_in(
            jax.random.key(self.config.seed + seed), zlib.crc32(name.encode())
        )

    def stage(self, name: str, component: Any, *parents: Stage, extra: Any = None) -> Stage:
        """The stage that makes `component` from the parents' results."""
        return Stage(name, [asdict(component), self.config.seed, extra], parents)

    def train(
        self,
        stage: Stage,
        component: Component,
        state: Any,
        data: Data,
        key: Array,
        *,
        save_every: int,
        seeds: int | None = None,
        measure: Callable[[Any], Any] | None = None,
    ) -> Trained:
        """Trains `component` from `state`, or from where an earlier run stopped, to its end.

        Args:
            save_every: updates between checkpoints.
            seeds: how many lead the axes of state and key, or None without such an axis.
            measure: makes, at each checkpoint, an entry of the record's curve from the state.
        """
        checkpoints = Checkpoints(stage.make_folder(self.workdir))
        done, state, record = checkpoints.latest(state)
        record = record or {
            "curve": [],
            "metrics": {},
            "updates_per_second": None,
            "commit": commit(),
        }
        if done == component.steps:
            print(f"{stage.name}: found, {done} updates", flush=True)
            checkpoints.close()
            return Trained(stage, state, record)
        chunks = train(
            component,
            state,
            data,
            key,
            chunk=chunk_length(self.config, component),
            start=done,
            seeds=seeds is not None,
        )
        clock = _Clock(done)
        with (
            StageMetrics(self.workdir, stage, done) as writer,
            StageProgress(stage.name, component.steps, done) as progress,
        ):
            for done, state, metrics in clock.timed(chunks):
                writer.write(done, metrics)
                loss = next(f"{k} {np.mean(v):.4g}" for k, v in metrics.items() if "loss" in k)
                progress.update(done, loss, clock.rate)
                if done % save_every and done < component.steps:
                    continue
                record["metrics"] = {k: float(np.mean(v)) for k, v in metrics.items()}
                record["updates_per_second"] = clock.rate * (seeds or 1)
                if measure:
                    record["curve"].append({"updates": done, "returns": measure(state)})
                checkpoints.save(done, state, record)
        checkpoints.close()
        return Trained(stage, state, record)


class _Clock:
    """Updates per second of the chunks; the first, which compiles, counts only if it is alone."""

    def __init__(self, done: int):
        self.marks = [(done, 0.0)]

    def timed(
        self, chunks: Iterator[tuple[int, Any, dict[str, Any]]]
    ) -> Iterator[tuple[int, Any, dict[str, Any]]]:
        spent = 0.0
        while True:
            begin = monotonic()
            item = next(chunks, None)
            if item is None:
                return
            spent += monotonic() - begin
            self.marks.append((item[0], spent))
            yield item

    @property
    def rate(self) -> float:
        first = self.marks[1] if len(self.marks) > 2 else self.marks[0]
        last = self.marks[-1]
        return (last[0] - first[0]) / max(last[1] - first[1], 1e-9)
