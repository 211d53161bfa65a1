"""The FLOPs and bytes that the work needs, by formula: the multiply-adds of matrix products.

Element-wise operations (activations, norms, Adam's arithmetic, noise), biases, and products with
the zeros of a padding are not counted. Products that a faster algorithm avoids
(`networks.convolution`) are counted, as every implementation computes the same function.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

FLOAT = 4  # bytes


class Product(NamedTuple):
    """A matrix product of a layer, for one row of a batch."""

    macs: float  # multiply-adds
    to_input: bool = True  # whether training needs the gradient of its input
    to_weights: bool = True  # whether training needs the gradient of its weights


def forward(layers: Sequence[Product]) -> float:
    """FLOPs of the forward pass."""
    return 2.0 * sum(layer.macs for layer in layers)


def training(layers: Sequence[Product]) -> float:
    """FLOPs of the forward and the backward pass."""
    return 2.0 * sum(layer.macs * (1 + layer.to_input + layer.to_weights) for layer in layers)


def mlp(inputs: int, *widths: int) -> list[Product]:
    """Dense layers; the input of the first one needs no gradient."""
    pairs = pairwise([inputs, *widths])
    return [Product(a * b, to_input=index > 0) for index, (a, b) in enumerate(pairs)]


def td3(
    observation: int, action: int, hidden: Sequence[int], delay: int, critics: int = 1
) -> float:
    """FLOPs per row of the batch of one critic update and its share of the policy update.

    Args:
        delay: the number of critic updates per policy update.
        critics: those that the policy's loss evaluates: one in TD3+BC, both in ReBRAC.
    """
    actor = mlp(observation, *hidden, action)
    critic = mlp(observation + action, *hidden, 1)
    fixed_critic = [layer._replace(to_input=True, to_weights=False) for layer in critic]
    critic_update = forward(actor) + 2 * forward(critic) + 2 * training(critic)
    return critic_update + (training(actor) + critics * training(fixed_critic)) / delay


def iql(observation: int, action: int, hidden: Sequence[int]) -> float:
    """FLOPs per row of the batch of one update."""
    actor = mlp(observation, *hidden, action)
    critic = mlp(observation + action, *hidden, 1)
    value = mlp(observation, *hidden, 1)
    value_update = 2 * forward(critic) + training(value)
    new_values = 2 * forward(value)  # of both states, with the updated value network
    return value_update + new_values + training(actor) + 2 * training(critic)


def convolution(steps: int, taps: int, inputs: int, outputs: int, stride: int = 1) -> float:
    """Multiply-adds of a zero-padded convolution, without those of the padding."""
    begins = range(-(taps // 2), steps - taps // 2, stride)
    inside = sum(min(begin + taps, steps) - max(begin, 0) for begin in begins)
    return float(inside * inputs * outputs)


def transposed_convolution(steps: int, channels: int) -> float:
    """Multiply-adds of a transposed convolution of 4 taps and stride 2, without the padding's."""
    return float((4 * steps - 2) * channels * channels)  # one tap at each end meets the padding


def temporal_unet(
    steps: int, inputs: int, outputs: int, action: int, width: int, multipliers: Sequence[int]
) -> list[Product]:
    """The layers of the temporal U-Net (networks/temporal_unet.py), for one window."""
    layers = [
        *mlp(width, 4 * width, width),
        *mlp(1, width, 4 * width, width),
        *mlp(action, width, 4 * width, width),
    ]

    def block(steps: int, inputs: int, features: int, first: bool = False) -> None:
        layers.append(Product(convolution(steps, 5, inputs, features), to_input=not first))
        layers.append(Product(3 * width * features))
        layers.append(Product(convolution(steps, 5, features, features)))
        if inputs != features:
            layers.append(Product(steps * inputs * features, to_input=not first))

    widths = [width * multiplier for multiplier in multipliers]
    channels = inputs
    for level, features in enumerate(widths):
        block(steps, channels, features, first=level == 0)
        block(steps, features, features)
        if level < len(widths) - 1:
            layers.append(Product(convolution(steps, 3, features, features, stride=2)))
            steps //= 2
        channels = features
    block(steps, channels, channels)
    block(steps, channels, channels)
    for features in reversed(widths[:-1]):
        block(steps, 2 * channels, features)
        block(steps, features, features)
        layers.append(Product(transposed_convolution(steps, features)))
        steps, channels = 2 * steps, features
    layers.append(Product(convolution(steps, 5, channels, width)))
    layers.append(Product(steps * width * outputs))
    return layers


def adam_traffic(parameters: float, averaged: float = 0.0) -> float:
    """Bytes that a gradient step with Adam moves at least, if no parameter stays in a cache.

    The forward and the backward pass read the parameters; the gradient is written and read; the
    parameters and both moments are read and written.

    Args:
        averaged: the share of steps that also read and write a moving average of the parameters.
    """
    return FLOAT * parameters * (2 + 2 + 6 + 2 * averaged)
