"""Group norm, fast on narrow windows too."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.networks import convolution
from dawm_jax.types import Array

EPSILON = 1e-5  # added to a group's variance


class GroupNorm(nn.Module):
    """Group norm over steps and channels (Wu & He 2018): (B, T, channels), with flax's parameters.

    Computed in float32, given back in `dtype`, if that is not the input's.
    """

    groups: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return _group_norm(x, scale, bias, self.groups).astype(self.dtype or x.dtype)


@partial(jax.jit, static_argnames="groups")
def _group_norm(x: Array, scale: Array, bias: Array, groups: int) -> Array:
    grouped = x.astype(jnp.float32).reshape(*x.shape[:2], groups, -1)
    return _whitened(grouped).reshape(x.shape) * scale + bias


@jax.custom_vjp
def _whitened(x: Array) -> Array:
    """x (B, T, groups, channels of each) with mean 0 and variance 1 in each group."""
    return _whiten(x)[0]


def _whiten(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = x - _means(x)
    rate = jax.lax.rsqrt(_means(y * y) + EPSILON)
    return y * rate, (y * rate, rate)


def _whiten_gradient(kept: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    """Of the gradient, the parts along the group's mean and along `y` are lost."""
    y, rate = kept
    return (rate * (gradient - _means(gradient) - y * _means(gradient * y)),)


_whitened.defvjp(_whiten, _whiten_gradient)


def _means(x: Array) -> Array:
    """Means (B, 1, groups, 1) of x (B, T, groups, channels of each).

    Of a narrow window a matrix product: sums of a few channels each are not vectorized.
    """
    batch, steps, groups, size = x.shape
    if steps * groups * size > convolution.NARROW:
        return x.mean((1, 3), keepdims=True)
    share = np.repeat(np.eye(groups, dtype=x.dtype), size, axis=0) / (steps * size)
    means = jnp.dot(x.reshape(batch, -1), np.tile(share, (steps, 1)), precision="highest")
    return means[:, None, :, None]
