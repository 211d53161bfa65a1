"""Batches of which the generated transitions stay in a file: only the rows drawn are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import struct

from dawm_jax.data import npz_columns
from dawm_jax.data.sampling import check_ratio, draws, joined
from dawm_jax.types import Array, Transition


@dataclass(frozen=True, eq=False)
class StoredTransitions:
    """N transitions in a file on the host, whose actions are in the environment's units."""

    columns: dict[str, np.ndarray]  # the fields of `Transition`, as of `npz_columns.mapped`
    scale_action: Callable[[np.ndarray], np.ndarray]  # from those units to [-1, 1]
    memory: int  # bytes of rows to read at once

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def reward(self) -> np.ndarray:
        """(N,), in the file."""
        return self.columns["reward"]

    @property
    def row_bytes(self) -> int:
        """The size of one transition."""
        return sum(column.nbytes for column in self.columns.values()) // len(self)

    def rows(self, index: np.ndarray) -> Transition:
        """The transitions of these numbers (...), in memory, with arrays that begin with (...)."""
        taken: dict[str, Any] = {
            name: npz_columns.take(column, index) for name, column in self.columns.items()
        }
        taken["action"] = self.scale_action(taken["action"]).astype(np.float32)
        return Transition(**taken)


class TransitionStream(struct.PyTreeNode):
    """The batches of a `TransitionSet` with the same transitions, but for where they lie."""

    real: Transition
    synthetic: StoredTransitions = struct.field(pytree_node=False)
    synthetic_ratio: float = struct.field(pytree_node=False, default=0.5)

    def __post_init__(self) -> None:
        check_ratio(self.synthetic_ratio)

    def index(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Which synthetic transitions the batch takes."""
        return draws(key, shape, self.synthetic_ratio)[1].numbers(len(self.synthetic))

    def fetch(self, index: np.ndarray) -> Transition:
        """Those transitions, on the host."""
        return self.synthetic.rows(index)

    def rows_at_once(self) -> int:
        """How many of them may be on their way together."""
        return self.synthetic.memory // self.synthetic.row_bytes

    def sample(self, key: Array, shape: tuple[int, ...], fetched: Transition) -> Transition:
        """The batch, given the transitions that `index` names."""
        real, _ = draws(key, shape, self.synthetic_ratio)
        return joined(real.of(self.real), fetched, len(shape) - 1)
