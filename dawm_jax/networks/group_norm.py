"""Group norm that is fast for narrow windows on a CPU, too."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.networks import backend
from dawm_jax.types import Array

EPSILON = 1e-5  # added to a group's variance


class GroupNorm(nn.Module):
    """Group norm over steps and channels (Wu & He 2018): (B, T, channels), with flax's parameters.

    Computed in float32 and returned in `dtype` (default: the input's).
    """

    groups: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        normalize = _normalize_on_cpu if backend.on_cpu() else _normalize
        y = _group_norm(x, scale, bias, self.groups, normalize)
        return y.astype(self.dtype or x.dtype)


@partial(jax.jit, static_argnames=("groups", "normalize"))
def _group_norm(
    x: Array, scale: Array, bias: Array, groups: int, normalize: Callable[[Array], Array]
) -> Array:
    grouped = x.astype(jnp.float32).reshape(*x.shape[:2], groups, -1)
    return normalize(grouped).reshape(x.shape) * scale + bias


def _means(x: Array) -> Array:
    """Means (B, 1, groups, 1) of x (B, T, groups, channels of each)."""
    return x.mean((1, 3), keepdims=True)


def _standardize(x: Array, means: Callable[[Array], Array]) -> tuple[Array, Array]:
    """x normalized in each group, and the reciprocal of each group's standard deviation."""
    y = x - means(x)
    rate = jax.lax.rsqrt(means(y * y) + EPSILON)
    return y * rate, rate


def _normalize(x: Array) -> Array:
    """x (B, T, groups, channels of each) with mean 0 and variance 1 in each group."""
    return _standardize(x, _means)[0]


def _means_on_cpu(x: Array) -> Array:
    """`_means` as a matrix product for a narrow window: XLA does not vectorize such short sums."""
    batch, steps, groups, size = x.shape
    if steps * groups * size > backend.NARROW:
        return _means(x)
    member = np.repeat(np.eye(groups, dtype=x.dtype), size, axis=0)
    sums = jnp.dot(x.reshape(batch, -1), np.tile(member, (steps, 1)), precision="highest")
    return sums[:, None, :, None] / (steps * size)  # exact for a constant group


@jax.custom_vjp
def _normalize_on_cpu(x: Array) -> Array:
    """`_normalize` with a gradient in fewer passes over the window."""
    return _standardize(x, _means_on_cpu)[0]


def _forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y, rate = _standardize(x, _means_on_cpu)
    return y, (y, rate)


def _backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    """The gradient without its components along the group's mean and along `y`."""
    y, rate = residuals
    along = _means_on_cpu(gradient * y)
    return (rate * (gradient - _means_on_cpu(gradient) - y * along),)


_normalize_on_cpu.defvjp(_forward, _backward)
