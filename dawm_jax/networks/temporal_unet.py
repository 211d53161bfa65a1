"""The temporal U-Net of Diffuser (Janner et al. 2022) and Decision Diffuser (Ajay et al. 2022).

As in DWM (Ding et al. 2024), it is conditioned on the diffusion step, a return-to-go and an action.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from dawm_jax.networks.blocks import MLP, mish, sinusoidal_embedding
from dawm_jax.networks.convolution import temporal_convolution, transposed_convolution
from dawm_jax.networks.group_norm import GroupNorm
from dawm_jax.types import Array


def _kernel(module: nn.Module, taps: int, channels: int, features: int) -> tuple[Array, ...]:
    """The weights of a convolution: an array (channels, features) for each tap.

    A CPU reads each tap's weights in place; other backends stack them. The pytree is the same on
    both, so that a state saved on one resumes on the other. All taps come from one draw, because
    the compile time of an initializer grows with its number of draws.
    """
    draw = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
    shape = (taps, channels, features)
    return module.param("kernel", lambda key: tuple(draw(key, shape)))


class TemporalConv(nn.Module):
    """Convolution over the steps of a window: (B, T, channels) -> (B, T / stride, features)."""

    features: int
    taps: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = _kernel(self, self.taps, x.shape[-1], self.features)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, bias, *kernel = promote_dtype(x, bias, *kernel, dtype=self.dtype)
        return temporal_convolution(x, kernel, self.stride, self.taps // 2) + bias


class Upsample(nn.Module):
    """Transposed convolution of 4 taps and stride 2: (B, T, channels) -> (B, 2 T, channels)."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        kernel = _kernel(self, 4, channels, channels)
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x, bias, *kernel = promote_dtype(x, bias, *kernel, dtype=self.dtype)
        return transposed_convolution(x, kernel) + bias


class ConvBlock(nn.Module):
    """Convolution, group norm, Mish."""

    features: int
    taps: int
    groups: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = TemporalConv(self.features, self.taps, dtype=self.dtype)(x)
        return mish(GroupNorm(self.groups, dtype=self.dtype)(x))


class ResidualBlock(nn.Module):
    """Two convolution blocks, with an embedding added between them, and a residual path."""

    features: int
    taps: int
    groups: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, embedding: Array) -> Array:
        def convolve(x: Array) -> Array:
            return ConvBlock(self.features, self.taps, self.groups, self.dtype)(x)

        def project(x: Array) -> Array:
            return nn.Dense(self.features, dtype=self.dtype)(x)

        hidden = convolve(convolve(x) + project(mish(embedding))[:, None])
        residual = x if x.shape[-1] == self.features else project(x)
        return hidden + residual


class TemporalUNet(nn.Module):
    """Maps a noised window to a prediction of the same steps.

    T must be a multiple of 2 ** (len(multipliers) - 1), and the width of each level, `width` times
    its multiplier, a multiple of `groups`.
    """

    features: int
    width: int = 128
    multipliers: Sequence[int] = (1, 4, 8)
    taps: int = 5
    groups: int = 8
    dtype: Any = None  # of the computation; parameters and the prediction are float32

    @nn.compact
    def __call__(
        self, x: Array, step: Array, return_to_go: Array, keep_return: Array, action: Array
    ) -> Array:
        """The prediction for noised windows.

        Args:
            x: (B, T, channels).
            step: (B,) the diffusion step, or the schedule's clock.
            return_to_go: (B,).
            keep_return: (B,) bool; where False, the return-to-go is hidden.
            action: (B, action_dim) action of the window's first step.

        Returns:
            (B, T, features).
        """
        width = self.width
        clock = MLP((4 * width, width), mish, dtype=self.dtype)(sinusoidal_embedding(step, width))
        target = MLP((width, 4 * width, width), mish, dtype=self.dtype)(return_to_go[:, None])
        first = MLP((width, 4 * width, width), mish, dtype=self.dtype)(action)
        embedding = jnp.concatenate([clock, target * keep_return[:, None], first], axis=-1)

        def block(x: Array, features: int) -> Array:
            return ResidualBlock(features, self.taps, self.groups, self.dtype)(x, embedding)

        widths = [width * multiplier for multiplier in self.multipliers]
        skips = []
        for level, features in enumerate(widths):
            x = block(block(x, features), features)
            skips.append(x)
            if level < len(widths) - 1:
                x = TemporalConv(features, taps=3, stride=2, dtype=self.dtype)(x)
        x = block(block(x, widths[-1]), widths[-1])
        for level in range(len(widths) - 1, 0, -1):
            x = jnp.concatenate([x, skips[level]], axis=-1)
            x = Upsample(self.dtype)(block(block(x, widths[level - 1]), widths[level - 1]))
        x = ConvBlock(width, self.taps, self.groups, self.dtype)(x)
        return nn.Dense(self.features, dtype=self.dtype)(x).astype(jnp.float32)
