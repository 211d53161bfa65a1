"""The parts that networks are built from."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from dawm_jax.types import Array


def mish(x: Array) -> Array:
    """x tanh(softplus(x)) (Misra 2019)."""
    return x * jnp.tanh(jax.nn.softplus(x))


class MLP(nn.Module):
    """Dense layers of the given widths, an activation between them and dropout after it."""

    widths: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, deterministic: bool = True) -> Array:
        for width in self.widths[:-1]:
            x = self.activation(nn.Dense(width)(x))
            x = nn.Dropout(self.dropout)(x, deterministic=deterministic)
        return nn.Dense(self.widths[-1])(x)


def sinusoidal_embedding(position: Array, width: int) -> Array:
    """Sines and cosines of `position` (B,) at geometric frequencies (Vaswani et al. 2017).

    Returns:
        (B, width); `width` is even and at least 4.
    """
    half = width // 2
    frequency = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - 1))
    angle = position[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def temporal_convolution(x: Array, kernel: Array, stride: int = 1, left: int = 0) -> Array:
    """A zero-padded 1-D convolution as one matrix product for each output step.

    The windows are so short that many taps would fall on padding; here they are left out, and
    each product reads consecutive steps. XLA's own convolution is far slower on such shapes.

    Args:
        x: (B, T, channels).
        kernel: (taps, channels, features).
        stride: steps of the input to a step of the output.
        left: steps of padding before the first; as many follow as T / `stride` outputs need.

    Returns:
        (B, T / stride, features).
    """
    batch, steps, _ = x.shape
    taps, _, features = kernel.shape
    outputs = []
    for begin in range(-left, steps - left, stride):
        low, high = max(begin, 0), min(begin + taps, steps)
        seen = x[:, low:high].reshape(batch, -1)
        outputs.append(seen @ kernel[low - begin : high - begin].reshape(-1, features))
    return jnp.stack(outputs, axis=1)
