"""Transitions in training rows and held-out rows, which choose elites or a threshold."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.types import Array, Transition


class HoldoutSet(struct.PyTreeNode):
    """Transitions to draw batches from, some of which are held out.

    A batch has equally many rows of each group, to within one.
    """

    transitions: Transition
    groups: tuple[Array, ...]  # the training rows of each group
    held_out: Array  # (H,) the held-out rows, group by group

    @classmethod
    def of(
        cls, transitions: Transition, limit: int, group: np.ndarray | None = None
    ) -> "HoldoutSet":
        """Holds out a fifth of each group, but at most `limit` rows; always the same ones.

        The row of a group of one is both a training row and held out.

        Args:
            group: (N,) the group of each transition (default: one group of all).
        """
        group = np.zeros(len(transitions.reward)) if group is None else group
        random = np.random.default_rng(0)
        trained, held_out = [], []
        for label in np.unique(group):
            rows = random.permutation(np.flatnonzero(group == label))
            count = min(limit, -(-len(rows) // 5))
            held_out.append(rows[:count])
            trained.append(jnp.asarray(rows[count:] if len(rows) > count else rows, jnp.int32))
        return cls(transitions, tuple(trained), jnp.asarray(np.concatenate(held_out), jnp.int32))

    def sample(self, key: Array, shape: tuple[int, ...]) -> Transition:
        """A batch of leading dimensions `shape`, drawn uniformly from each group.

        Along the last dimension, the rows are ordered by group.
        """
        *lead, size = shape
        keys = jax.random.split(key, len(self.groups))
        parts = [
            rows[jax.random.randint(keys[i], (*lead, share), 0, len(rows))]
            for i, rows in enumerate(self.groups)
            if (share := (size + i) // len(self.groups))
        ]
        return take(self.transitions, jnp.concatenate(parts, axis=-1))


def take(transitions: Transition, rows: Any) -> Transition:
    """The transitions at `rows`, an array of indices or a slice."""
    return jax.tree.map(lambda leaf: leaf[rows], transitions)
