"""Group norm, fast on narrow windows too."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.networks import blocks
from dawm_jax.types import Array


class GroupNorm(nn.Module):
    """Group norm over steps and channels (Wu & He 2018): (B, T, channels), with flax's parameters.

    Computed in float32, given back in `dtype`, if that is not the input's.
    """

    groups: int
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        y = _whitened(x.astype(jnp.float32), self.groups, self.epsilon) * scale + bias
        return y.astype(self.dtype or x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _whitened(x: Array, groups: int, epsilon: float) -> Array:
    """`x` with mean 0 and variance 1 in each group of its channels."""
    return _whiten(x, groups, epsilon)[0]


def _whiten(x: Array, groups: int, epsilon: float) -> tuple[Array, tuple[Array, Array]]:
    y = x - _spread(_group_means(x, groups), x)
    rate = _spread(jax.lax.rsqrt(_group_means(y * y, groups) + epsilon), x)
    return y * rate, (y * rate, rate)


def _whiten_gradient(
    groups: int, epsilon: float, kept: tuple[Array, Array], gradient: Array
) -> tuple[Array]:
    """Of the gradient, the parts along the group's mean and along `y` are lost."""
    del epsilon
    y, rate = kept
    mean, slope = _group_means(gradient, groups), _group_means(gradient * y, groups)
    return (rate * (gradient - _spread(mean, y) - y * _spread(slope, y)),)


_whitened.defvjp(_whiten, _whiten_gradient)


def _group_means(x: Array, groups: int) -> Array:
    """Means (B, groups) of x (B, T, channels).

    Of a narrow window a matrix product: sums of a few channels each are not vectorized.
    """
    batch, steps, channels = x.shape
    size = channels // groups
    if steps * channels > blocks.NARROW:
        return x.reshape(batch, steps, groups, size).mean((1, 3))
    share = np.repeat(np.eye(groups, dtype=x.dtype), size, axis=0) / (steps * size)
    return jnp.dot(x.reshape(batch, -1), np.tile(share, (steps, 1)), precision="highest")


def _spread(means: Array, x: Array) -> Array:
    """A number (B, groups) of each group, for its channels in x (B, T, channels)."""
    return jnp.repeat(means, x.shape[-1] // means.shape[-1], axis=1)[:, None]
