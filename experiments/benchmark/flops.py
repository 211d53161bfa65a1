"""Operations and bytes that the work needs, by hand: multiplications and additions of products.

An operation on each element (activations, norms, Adam's arithmetic, noise) is left out, and so
are products with the zeros of a padding. Biases are not products. Those that a clever way saves
(`networks.convolution`) do count: the work is that of the function, whoever does it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

FLOAT = 4  # bytes


class Product(NamedTuple):
    """One matrix product of a layer, for one row of a batch."""

    macs: float  # multiplications, each with an addition
    to_input: bool = True  # whether its gradient goes on to an input that has parameters before it
    to_weights: bool = True


def forward(layers: Sequence[Product]) -> float:
    """FLOPs of the outputs."""
    return 2.0 * sum(layer.macs for layer in layers)


def training(layers: Sequence[Product]) -> float:
    """FLOPs of the outputs, and of the gradients of the weights and of the inputs."""
    return 2.0 * sum(layer.macs * (1 + layer.to_input + layer.to_weights) for layer in layers)


def mlp(inputs: int, *widths: int) -> list[Product]:
    """Dense layers; nothing is trained before the first."""
    pairs = pairwise([inputs, *widths])
    return [Product(a * b, to_input=index > 0) for index, (a, b) in enumerate(pairs)]


def td3bc(observation: int, action: int, hidden: Sequence[int], delay: int) -> float:
    """FLOPs of one critic update a row of the batch, with its share of the policy's update."""
    actor = mlp(observation, *hidden, action)
    critic = mlp(observation + action, *hidden, 1)
    through = [layer._replace(to_input=True, to_weights=False) for layer in critic]
    critics = forward(actor) + 2 * forward(critic) + 2 * training(critic)
    return critics + (training(actor) + training(through)) / delay


def iql(observation: int, action: int, hidden: Sequence[int]) -> float:
    """FLOPs of one update a row of the batch."""
    actor = mlp(observation, *hidden, action)
    critic = mlp(observation + action, *hidden, 1)
    value = mlp(observation, *hidden, 1)
    old = 2 * forward(critic) + training(value)
    new = 2 * forward(value)  # of both states, once the value has moved
    return old + new + training(actor) + 2 * training(critic)


def convolution(steps: int, taps: int, inputs: int, outputs: int, stride: int = 1) -> float:
    """Multiplications of a zero-padded convolution, those with the padding left out."""
    begins = range(-(taps // 2), steps - taps // 2, stride)
    inside = sum(min(begin + taps, steps) - max(begin, 0) for begin in begins)
    return float(inside * inputs * outputs)


def transposed(steps: int, channels: int) -> float:
    """Of a transposed convolution of 4 taps and stride 2: of 4 taps a step, 2 ends fall outside."""
    return float((4 * steps - 2) * channels * channels)


def temporal_unet(
    steps: int, inputs: int, outputs: int, action: int, width: int, multipliers: Sequence[int]
) -> list[Product]:
    """The layers of the temporal U-Net for one window; see networks/temporal_unet.py."""
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
        layers.append(Product(transposed(steps, features)))
        steps, channels = 2 * steps, features
    layers.append(Product(convolution(steps, 5, channels, width)))
    layers.append(Product(steps * width * outputs))
    return layers


def adam_bytes(parameters: float, averaged: float = 0.0) -> float:
    """Bytes of parameters that a gradient step moves at least, if none stay in a cache.

    They are read forwards and backwards, the gradient is written and read, and the parameters and
    both moments are read and written; so is a moving average, in the share `averaged` of the steps.
    """
    return FLOAT * parameters * (2 + 2 + 6 + 2 * averaged)
