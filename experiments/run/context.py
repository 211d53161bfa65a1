"""The context that the stages of a run share: settings, folder, data and keys."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from dawm_jax.data.holdout import hold_out
from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import DataStatistics
from dawm_jax.types import Array, Dataset, Transition
from experiments.run.config import Components
from experiments.store.stage import Stage, digest, identity


@dataclass(frozen=True)
class Run:
    """One run. Its data are split once: models are measured on held-out episodes."""

    config: ConfigDict
    components: Components
    workdir: Path
    dataset: Dataset
    profile: bool = False  # whether each stage writes a trace of a few steps

    @cached_property
    def transitions(self) -> Transition:
        """Every recorded step."""
        return to_transitions(self.dataset)

    @cached_property
    def statistics(self) -> DataStatistics:
        """The statistics of the recorded data for the learners."""
        return DataStatistics.of(self.dataset)

    @cached_property
    def splits(self) -> tuple[Dataset, Dataset | None]:
        """The episodes that models are trained on, and the held-out ones."""
        return hold_out(self.dataset, self.config.held_out, self.config.seed)

    @cached_property
    def data_stage(self) -> Stage:
        """Stands for the data: their contents, how they are read, and their environment."""
        dataset = self.dataset
        specs = (dataset.environment, dataset.evaluation_environment)
        environments = [spec.to_json() if spec else None for spec in specs]
        ranges = (dataset.observation_origin, dataset.action_low, dataset.action_high)
        arrays = (dataset.episodes, *ranges)
        parts = [layout.sizes for layout in (dataset.observation_layout, dataset.action_layout)]
        settings = [
            dataset.discount,
            dataset.return_scale,
            dataset.reward_shift,
            environments,
            parts,
        ]
        return Stage("data", [digest(arrays), *settings])

    def key(self, name: str, seed: int = 0) -> Array:
        """The random key of a part of the run, for the first seed or the `seed`-th after it."""
        return jax.random.fold_in(
            jax.random.key(self.config.seed + seed), zlib.crc32(name.encode())
        )

    def stage(self, name: str, component: Any, *parents: Stage, extra: Any = None) -> Stage:
        """The stage of `component`, which uses the parents' results."""
        return Stage(name, [identity(component), self.config.seed, extra], parents)
