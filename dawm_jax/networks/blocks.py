"""The parts that networks are built from."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dawm_jax.types import Array

# Its draw is jitted, as flax traces it at every use of the parameter, to check the shape.
Dense = partial(
    nn.Dense, kernel_init=jax.jit(nn.initializers.lecun_normal(), static_argnums=(1, 2))
)


def mish(x: Array) -> Array:
    """x tanh(softplus(x)) (Misra 2019), with one exponential.

    tanh(log(1 + e)) = n / (n + 2), where n = e (e + 2) and e = exp(x); beyond 20 it is 1.
    """
    e = jnp.exp(jnp.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


class MLP(nn.Module):
    """Dense layers of the given widths, an activation between them and dropout after it.

    Computed in `dtype`, if that is not the inputs'; parameters are float32.
    """

    widths: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, deterministic: bool = True) -> Array:
        for width in self.widths[:-1]:
            x = self.activation(Dense(width, dtype=self.dtype)(x))
            x = nn.Dropout(self.dropout)(x, deterministic=deterministic)
        return Dense(self.widths[-1], dtype=self.dtype)(x)


def sinusoidal_embedding(position: Array, width: int) -> Array:
    """Sines and cosines of `position` (B,) at geometric frequencies (Vaswani et al. 2017).

    Returns:
        (B, width); `width` is even and at least 4.
    """
    half = width // 2
    frequency = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - 1))
    angle = position[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
