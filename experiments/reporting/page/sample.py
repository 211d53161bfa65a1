"""A sample of a run's synthetic transitions, with the rollouts that they come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawm_jax.data import npz_columns
from dawm_jax.errors import UserError, require
from dawm_jax.types import Dataset, Transition
from experiments.store import files

BLOCK = 1_000  # consecutive rows that are read at a time


@dataclass(frozen=True)
class Sample:
    """Rows of whole rollouts, in the file's order."""

    transitions: Transition  # in the scale of learners, on the host
    step: np.ndarray  # (N,) of the row in its rollout, counted from 0

    @property
    def lengths(self) -> np.ndarray:
        """The transitions of each rollout."""
        starts = np.flatnonzero(self.step == 0)
        return np.diff([*starts, len(self.step)])

    def rollout(self, number: int) -> dict[str, np.ndarray]:
        """The transitions of a rollout, by field."""
        end = int(self.lengths[: number + 1].sum())
        rows = slice(end - int(self.lengths[number]), end)
        return {name: np.asarray(values)[rows] for name, values in vars(self.transitions).items()}


def sample(path: Path, dataset: Dataset, rows: int) -> Sample:
    """About `rows` transitions of a file, from blocks that are spread evenly over it.

    Raises:
        UserError: the file is missing, damaged, or not of the data set.
    """
    require(
        path.exists() and files.seal_of(path).exists(),
        f"{path} is missing or unfinished: run the command of the run again",
    )
    wrong = files.damage(path)
    require(wrong is None, f"{path.parent}: {wrong}; run the command of the run again")
    columns = npz_columns.memory_map(path)
    count = len(columns["reward"])
    width = columns["observation"].shape[1], columns["action"].shape[1]
    require(
        width == (len(dataset.observation_origin), dataset.action_dim),
        f"{path} has observations and actions of {width[0]} and {width[1]} numbers, "
        f"'{dataset.id}' of {len(dataset.observation_origin)} and {dataset.action_dim}: name the "
        "run's own data set by MINARI_DATASETS_PATH",
    )
    blocks = max(1, min(rows, count) // BLOCK)
    length = min(BLOCK, count) if rows < count else -(-count // blocks)
    firsts = np.linspace(0, count - length, blocks).astype(int)
    parts = [
        _whole_rollouts({n: np.array(c[at : at + length]) for n, c in columns.items()}, at, count)
        for at in firsts
    ]
    steps = np.concatenate([step for _, step in parts])
    if not len(steps):
        raise UserError(f"{path} contains no transitions")
    joined: dict[str, Any] = {
        name: dataset.from_units(name, np.concatenate([part[name] for part, _ in parts]))
        for name in columns
    }
    return Sample(Transition(**joined), steps)


def steps_of(block: dict[str, np.ndarray]) -> np.ndarray:
    """The step of each row in its rollout: 0 unless its state is the one that the last row led to.

    A terminal state is followed by a new rollout.
    """
    follows = np.zeros(len(block["reward"]), bool)
    same = (block["next_observation"][:-1] == block["observation"][1:]).all(axis=1)
    follows[1:] = same & (block["discount"][:-1] != 0.0)
    row = np.arange(len(follows))
    return row - np.maximum.accumulate(np.where(follows, 0, row))


def _whole_rollouts(
    block: dict[str, np.ndarray], first: int, count: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The rows of rollouts that lie in a block from row `first` of `count`, and their steps.

    All rows, if the block is a part of a single rollout.
    """
    step = steps_of(block)
    starts = np.flatnonzero(step == 0)
    begin = 0 if first == 0 or len(starts) == 1 else starts[1]
    ends_file = first + len(step) == count
    end = len(step) if ends_file or starts[-1] <= begin else starts[-1]
    chosen = slice(begin, end)
    return {name: column[chosen] for name, column in block.items()}, step[chosen]
