"""Transitions of which a model trains on some, and chooses what is not trained by the others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.types import Array, Transition


class HoldoutSet(struct.PyTreeNode):
    """Transitions to draw batches from, of which some rows are held out of every batch.

    A batch takes equally many rows of each group, to within one.
    """

    transitions: Transition
    groups: tuple[Array, ...]  # the rows of each group that are trained on
    held_out: Array  # (H,) the rows that are not, those of the first group first

    @classmethod
    def of(
        cls, transitions: Transition, most: int, group: np.ndarray | None = None
    ) -> "HoldoutSet":
        """Holds out rows of each group, always the same: a fifth of it, but at most `most`.

        The one row of a group of one is both trained on and held out.

        Args:
            group: (N,) which group each transition is in; all are in one unless given.
        """
        group = np.zeros(len(transitions.reward)) if group is None else group
        random = np.random.default_rng(0)
        trained, held_out = [], []
        for label in np.unique(group):
            rows = random.permutation(np.flatnonzero(group == label))
            count = min(most, -(-len(rows) // 5))
            held_out.append(rows[:count])
            trained.append(jnp.asarray(rows[count:] if len(rows) > count else rows, jnp.int32))
        return cls(transitions, tuple(trained), jnp.asarray(np.concatenate(held_out), jnp.int32))

    def sample(self, key: Array, shape: tuple[int, ...]) -> Transition:
        """A batch of leading dimensions `shape`, drawn uniformly from each group.

        Along the last dimension, the rows of a group follow those of the groups before it.
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
    """The transitions number `rows`, an array or a slice."""
    return jax.tree.map(lambda leaf: leaf[rows], transitions)
