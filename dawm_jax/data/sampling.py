"""Batches drawn on the device, from recorded and generated transitions."""

import jax
import jax.numpy as jnp
from flax import struct

from dawm_jax.errors import require
from dawm_jax.types import Array, Transition


class TransitionSet(struct.PyTreeNode):
    """Transitions to draw batches from: `real` ones, and a share of `synthetic` ones."""

    real: Transition
    synthetic: Transition | None = None
    synthetic_ratio: float = struct.field(pytree_node=False, default=0.5)

    def __post_init__(self) -> None:
        require(
            0.0 <= self.synthetic_ratio <= 1.0,
            f"synthetic_ratio is {self.synthetic_ratio}; it must be between 0 and 1",
        )

    def sample(self, key: Array, shape: tuple[int, ...]) -> Transition:
        """A batch of leading dimensions `shape`, drawn uniformly from each part.

        The last of the dimensions holds round(ratio * size) synthetic transitions, after the real.
        """
        if self.synthetic is None:
            return _draw(self.real, key, shape)
        *lead, size = shape
        synthetic = round(self.synthetic_ratio * size)
        real_key, synthetic_key = jax.random.split(key)
        parts = (
            _draw(self.real, real_key, (*lead, size - synthetic)),
            _draw(self.synthetic, synthetic_key, (*lead, synthetic)),
        )
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=len(lead)), *parts)


def _draw(transitions: Transition, key: Array, shape: tuple[int, ...]) -> Transition:
    index = jax.random.randint(key, shape, 0, len(transitions.reward))
    return jax.tree.map(lambda leaf: leaf[index], transitions)
