"""Batches drawn on the device from recorded and synthetic transitions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dawm_jax.errors import require
from dawm_jax.types import Array, Transition


class Draw(NamedTuple):
    """A random draw of rows, of leading dimensions `shape`."""

    key: Array
    shape: tuple[int, ...]

    def numbers(self, count: int) -> Array:
        """Row numbers, uniform over 0 .. `count` - 1."""
        return jax.random.randint(self.key, self.shape, 0, count)

    def rows(self, transitions: Transition) -> Transition:
        """The drawn rows of `transitions`."""
        index = self.numbers(len(transitions.reward))
        return jax.tree.map(lambda leaf: leaf[index], transitions)


class TransitionSet(struct.PyTreeNode):
    """Recorded transitions to draw batches from, and synthetic ones beside them.

    Raises:
        UserError: `synthetic_ratio` is not in [0, 1).
    """

    recorded: Transition
    synthetic: Transition | None = None
    synthetic_ratio: float = struct.field(pytree_node=False, default=0.5)  # of all rows of a batch

    def __post_init__(self) -> None:
        check_ratio(self.synthetic_ratio)

    def sample(self, key: Array, shape: tuple[int, ...]) -> Transition:
        """Recorded transitions of leading dimensions `shape`, and synthetic ones after them.

        Both are drawn uniformly. The synthetic ones make the last dimension longer, so that a batch
        has as many recorded rows with them as without.
        """
        if self.synthetic is None:
            return Draw(key, shape).rows(self.recorded)
        recorded, synthetic = draws(key, shape, self.synthetic_ratio)
        parts = recorded.rows(self.recorded), synthetic.rows(self.synthetic)
        return concatenate(*parts, len(shape) - 1)


def check_ratio(synthetic_ratio: float) -> None:
    """Raises UserError unless the ratio is in [0, 1)."""
    require(
        0.0 <= synthetic_ratio < 1.0,
        f"synthetic_ratio is {synthetic_ratio}; it must be at least 0 and below 1",
    )


def draws(key: Array, shape: tuple[int, ...], synthetic_ratio: float) -> tuple[Draw, Draw]:
    """The draws of a batch from the recorded and from the synthetic transitions.

    The former are of leading dimensions `shape`.
    """
    *lead, size = shape
    synthetic = round(size * synthetic_ratio / (1.0 - synthetic_ratio))
    recorded_key, synthetic_key = jax.random.split(key)
    return Draw(recorded_key, shape), Draw(synthetic_key, (*lead, synthetic))


def concatenate(recorded: Transition, synthetic: Transition, axis: int) -> Transition:
    """Both parts of a batch, concatenated along `axis`."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=axis), recorded, synthetic)
