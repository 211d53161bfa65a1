"""What the stages of a run share: its settings, folder, data, keys and stages."""

import hashlib
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dawm_jax.data.holdout import hold_out
from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import DataStatistics
from dawm_jax.types import Array, Dataset, Transition
from experiments.run.config import Components
from experiments.store.stage import Stage


@dataclass(frozen=True)
class Run:
    """One run. Its data are split once: models are measured on episodes they never saw."""

    config: ConfigDict
    components: Components
    workdir: Path
    dataset: Dataset
    profile: bool = False  # whether each stage writes a trace of a few of its steps

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
