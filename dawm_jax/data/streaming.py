"""Batches whose synthetic transitions stay in a file: only the drawn rows are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import struct

from dawm_jax.data import npz_columns
from dawm_jax.data.sampling import check_ratio, concatenate, draws
from dawm_jax.types import Array, Transition


@dataclass(frozen=True, eq=False)
class StoredTransitions:
    """N transitions in a file on the host, in the environment's units."""

    columns: dict[str, np.ndarray]  # the fields of `Transition`, from `npz_columns.memory_map`
    from_units: Callable[[str, np.ndarray], np.ndarray]  # see `Dataset`
    memory: int  # bytes per read, at most

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def reward(self) -> np.ndarray:
        """(N,), in the file."""
        return self.columns["reward"]

    @property
    def row_bytes(self) -> int:
        """The size of one transition in bytes."""
        return sum(column.nbytes for column in self.columns.values()) // len(self)

    def rows(self, index: np.ndarray) -> Transition:
        """The transitions at `index` (...), in memory, with the leading dimensions of `index`."""
        taken: dict[str, Any] = {
            name: self.from_units(name, npz_columns.take(column, index))
            for name, column in self.columns.items()
        }
        return Transition(**taken)


class TransitionStream(struct.PyTreeNode):
    """Batches equal to those of a `TransitionSet` with the same transitions."""

    recorded: Transition
    synthetic: StoredTransitions = struct.field(pytree_node=False)
    synthetic_ratio: float = struct.field(pytree_node=False, default=0.5)

    def __post_init__(self) -> None:
        check_ratio(self.synthetic_ratio)

    def index(self, key: Array, shape: tuple[int, ...]) -> Array:
        """The row numbers of the synthetic transitions in the batch."""
        return draws(key, shape, self.synthetic_ratio)[1].numbers(len(self.synthetic))

    def fetch(self, index: np.ndarray) -> Transition:
        """The transitions at `index`, on the host."""
        return self.synthetic.rows(index)

    def max_rows(self) -> int:
        """The largest number of transitions per read."""
        return self.synthetic.memory // self.synthetic.row_bytes

    def sample(self, key: Array, shape: tuple[int, ...], fetched: Transition) -> Transition:
        """The batch, given its synthetic transitions from `fetch`."""
        recorded, _ = draws(key, shape, self.synthetic_ratio)
        return concatenate(recorded.rows(self.recorded), fetched, len(shape) - 1)
