"""Transitions in training rows and held-out rows, which choose elites."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.types import Array, Transition


class HoldoutSet(struct.PyTreeNode):
    """Transitions to draw batches from, some of which are held out."""

    transitions: Transition
    rows: Array  # (N - H,) the training rows
    held_out: Array  # (H,) the held-out rows

    @classmethod
    def of(cls, transitions: Transition, limit: int) -> "HoldoutSet":
        """Holds out a fifth, but at most `limit` rows; always the same ones.

        A single row is both a training row and held out.
        """
        rows = np.random.default_rng(0).permutation(len(transitions.reward))
        count = min(limit, -(-len(rows) // 5))
        training = rows[count:] if len(rows) > count else rows
        return cls(
            transitions, jnp.asarray(training, jnp.int32), jnp.asarray(rows[:count], jnp.int32)
        )

    def sample(self, key: Array, shape: tuple[int, ...]) -> Transition:
        """A batch of leading dimensions `shape`, drawn uniformly from the training rows."""
        return take(self.transitions, self.rows[jax.random.randint(key, shape, 0, len(self.rows))])


def take(transitions: Transition, rows: Any) -> Transition:
    """The transitions at `rows`, an array of indices or a slice."""
    return jax.tree.map(lambda leaf: leaf[rows], transitions)
