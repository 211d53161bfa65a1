"""The temporal U-Net of `dawm_jax.networks.temporal_unet` in PyTorch, with channels first.

Modules have the names that Flax gives them, so that parameters can be copied.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(*widths: int) -> nn.Module:
    """Dense layers with Mish between them."""
    module = nn.Sequential()
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        if index:
            module.add_module(f"Mish_{index}", nn.Mish())
        module.add_module(f"Dense_{index}", nn.Linear(inputs, outputs))
    return module


class Convolution(nn.Conv1d):
    """A zero-padded convolution with an odd number of taps."""

    def __init__(self, inputs: int, features: int, taps: int, stride: int = 1):
        super().__init__(inputs, features, taps, stride=stride, padding=taps // 2)


class ConvBlock(nn.Module):
    """Convolution, group norm, Mish."""

    def __init__(self, inputs: int, features: int):
        super().__init__()
        self.TemporalConv_0 = Convolution(inputs, features, 5)
        self.GroupNorm_0 = nn.GroupNorm(8, features)

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(self.GroupNorm_0(self.TemporalConv_0(x)))


class ResidualBlock(nn.Module):
    """Two convolution blocks, an embedding added between them, and a residual path."""

    def __init__(self, inputs: int, features: int, embedding: int):
        super().__init__()
        self.ConvBlock_0 = ConvBlock(inputs, features)
        self.Dense_0 = nn.Linear(embedding, features)
        self.ConvBlock_1 = ConvBlock(features, features)
        self.Dense_1 = nn.Conv1d(inputs, features, 1) if inputs != features else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.ConvBlock_0(x) + self.Dense_0(F.mish(embedding))[:, :, None]
        return self.ConvBlock_1(hidden) + self.Dense_1(x)


class Upsample(nn.ConvTranspose1d):
    """A transposed convolution that doubles the number of steps."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 4, stride=2, padding=1)


class TemporalUNet(nn.Module):
    """Maps a noised window (B, channels, T) to a prediction (B, features, T)."""

    def __init__(
        self, channels: int, features: int, action: int, width: int, multipliers: Sequence[int]
    ):
        super().__init__()
        self.width = width
        self.MLP_0 = mlp(width, 4 * width, width)
        self.MLP_1 = mlp(1, width, 4 * width, width)
        self.MLP_2 = mlp(action, width, 4 * width, width)
        self.blocks: list[ResidualBlock] = []
        widths = [width * multiplier for multiplier in multipliers]
        for level, size in enumerate(widths):
            self._pair(channels, size)
            if level < len(widths) - 1:
                self.add_module(f"TemporalConv_{level}", Convolution(size, size, 3, stride=2))
            channels = size
        self._pair(channels, channels)
        for index, size in enumerate(reversed(widths[:-1])):
            self._pair(2 * channels, size)
            self.add_module(f"Upsample_{index}", Upsample(size))
            channels = size
        self.levels = len(widths)
        self.ConvBlock_0 = ConvBlock(channels, width)
        self.Dense_0 = nn.Conv1d(width, features, 1)

    def _pair(self, inputs: int, features: int) -> None:
        for each in (inputs, features):
            block = ResidualBlock(each, features, 3 * self.width)
            self.add_module(f"ResidualBlock_{len(self.blocks)}", block)
            self.blocks.append(block)

    def forward(
        self, x: Tensor, step: Tensor, return_to_go: Tensor, keep_return: Tensor, action: Tensor
    ) -> Tensor:
        step_embedding = self.MLP_0(sinusoidal_embedding(step, self.width))
        return_embedding = self.MLP_1(return_to_go[:, None]) * keep_return[:, None]
        embedding = torch.cat([step_embedding, return_embedding, self.MLP_2(action)], dim=-1)
        blocks = iter(self.blocks)

        def pair(x: Tensor) -> Tensor:
            for _ in range(2):
                x = next(blocks)(x, embedding)
            return x

        skips = []
        for level in range(self.levels):
            x = pair(x)
            skips.append(x)
            if level < self.levels - 1:
                x = getattr(self, f"TemporalConv_{level}")(x)
        x = pair(x)
        for index in range(self.levels - 1):
            x = pair(torch.cat([x, skips.pop()], dim=1))
            x = getattr(self, f"Upsample_{index}")(x)
        return self.Dense_0(self.ConvBlock_0(x))


def sinusoidal_embedding(position: Tensor, width: int) -> Tensor:
    """Sines and cosines of `position` (B,) at geometric frequencies: (B, width)."""
    half = width // 2
    index = torch.arange(half, device=position.device)
    angle = position[:, None] * torch.exp(index * (-math.log(10_000.0) / (half - 1)))
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def copy_parameters(network: TemporalUNet, flax_params: Mapping[str, np.ndarray]) -> None:
    """Sets the parameters of `network` to those of Flax, by path: "ResidualBlock_0/Dense_0/kernel".

    Raises:
        ValueError: `flax_params` lacks some of the network's parameters.
    """
    missing = dict(network.named_parameters())
    for name, value in flax_params.items():
        *path, kind = name.split("/")
        module = network.get_submodule(".".join(path))
        parameter = missing.pop(".".join([*path, "bias" if kind == "bias" else "weight"]))
        if kind == "kernel":
            value = _kernel(module, value)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    if missing:
        raise ValueError(f"flax_params has no value for {', '.join(missing)}")


def _kernel(module: nn.Module, value: np.ndarray) -> np.ndarray:
    """A Flax kernel, (inputs, outputs) or (taps, inputs, outputs), in the layout of `module`."""
    if isinstance(module, nn.ConvTranspose1d):
        return value.transpose(1, 2, 0)
    if isinstance(module, nn.Conv1d):
        taps = value if value.ndim == 3 else value[None]
        return taps.transpose(2, 1, 0)
    return value.T
