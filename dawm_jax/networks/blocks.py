"""The parts that networks are built from."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dawm_jax.types import Array

NARROW = 512  # numbers of a window, up to which its convolution or means are one product


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
            x = self.activation(nn.Dense(width, dtype=self.dtype)(x))
            x = nn.Dropout(self.dropout)(x, deterministic=deterministic)
        return nn.Dense(self.widths[-1], dtype=self.dtype)(x)


def sinusoidal_embedding(position: Array, width: int) -> Array:
    """Sines and cosines of `position` (B,) at geometric frequencies (Vaswani et al. 2017).

    Returns:
        (B, width); `width` is even and at least 4.
    """
    half = width // 2
    frequency = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - 1))
    angle = position[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def temporal_convolution(
    x: Array, kernel: Sequence[Array], stride: int = 1, left: int = 0
) -> Array:
    """A zero-padded 1-D convolution of short windows, as matrix products.

    A narrow one is one product with a banded matrix, some of it zeros: few operations, each large
    enough. A wide one is a product for each tap, without those that fall on padding: each tap's
    weights are an array of their own, read where they lie, as copies into a larger one would take
    longer than the product. XLA's own convolution is far slower on such shapes.

    Args:
        x: (B, T, channels).
        kernel: for each tap (channels, features).
        stride: steps of the input to a step of the output.
        left: steps of padding before the first; as many follow as T / `stride` outputs need.

    Returns:
        (B, T / stride, features).
    """
    batch, steps, channels = x.shape
    outputs = steps // stride
    if steps * channels <= NARROW:
        product = x.reshape(batch, -1) @ _banded(kernel, steps, stride, left)
        return product.reshape(batch, outputs, -1)
    total = jnp.zeros((batch, outputs, kernel[0].shape[-1]), x.dtype)
    for tap, weights in enumerate(kernel):
        offset = tap - left  # output i sees step i * stride + offset
        begin = max(0, -(offset // stride))
        end = min(outputs, (steps - 1 - offset) // stride + 1)
        if begin < end:
            seen = x[:, begin * stride + offset : (end - 1) * stride + offset + 1 : stride]
            product = (seen.reshape(-1, channels) @ weights).reshape(batch, end - begin, -1)
            total += jnp.pad(product, ((0, 0), (begin, outputs - end), (0, 0)))
    return total


def _banded(kernel: Sequence[Array], steps: int, stride: int, left: int) -> Array:
    """The matrix (T channels, T / stride features) that convolves a flattened window."""
    zeros = jnp.zeros_like(kernel[0])

    def rows(step: int) -> Array:
        taps = [step - output * stride + left for output in range(steps // stride)]
        blocks = [kernel[tap] if 0 <= tap < len(kernel) else zeros for tap in taps]
        return jnp.concatenate(blocks, axis=1)

    return jnp.concatenate([rows(step) for step in range(steps)])
