"""Convolutions over the steps of a window: XLA's own, or matrix products on a CPU.

On a CPU, XLA's own convolution over so few steps is far slower. A network has dozens of them, so
the products are jitted separately, to be traced only once for each shape.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from dawm_jax.networks import backend
from dawm_jax.types import Array

LAYOUT = ("NTC", "TIO", "NTC")  # of inputs, kernels and outputs


def temporal_convolution(
    x: Array, kernel: Sequence[Array], stride: int = 1, left: int = 0
) -> Array:
    """A zero-padded 1-D convolution.

    Args:
        x: (B, T, channels); T is a multiple of `stride`.
        kernel: for each tap (channels, features).
        stride: input steps per output step.
        left: steps of padding on the left; on the right, as many as T / `stride` outputs need.

    Returns:
        (B, T / stride, features).
    """
    if backend.on_cpu():
        return _products(x, kernel, stride, left)
    steps = x.shape[1]
    right = (steps // stride - 1) * stride + len(kernel) - left - steps
    return jax.lax.conv_general_dilated(
        x, jnp.stack(kernel), (stride,), [(left, right)], dimension_numbers=LAYOUT
    )


def transposed_convolution(x: Array, kernel: Sequence[Array]) -> Array:
    """A transposed 1-D convolution of 4 taps, stride 2 and padding 1.

    Step i of the input adds x_i k_j to step 2 i + j - 1 of the output.

    Args:
        x: (B, T, channels).
        kernel: for each of the 4 taps (channels, features).

    Returns:
        (B, 2 T, features).
    """
    if backend.on_cpu():
        # Even outputs add k_3 of the previous step and k_1; odd ones, k_2 and k_0 of the next step.
        even = _products(x, kernel[3::-2], stride=1, left=1)
        odd = _products(x, kernel[2::-2], stride=1, left=0)
        return jnp.stack([even, odd], axis=2).reshape(x.shape[0], 2 * x.shape[1], -1)
    return jax.lax.conv_general_dilated(
        x,
        jnp.stack(kernel[::-1]),
        window_strides=(1,),
        padding=[(2, 2)],
        lhs_dilation=(2,),
        dimension_numbers=LAYOUT,
    )


@partial(jax.jit, static_argnames=("stride", "left"))
def _products(x: Array, kernel: Sequence[Array], stride: int, left: int) -> Array:
    """`temporal_convolution` in the form that is fastest on a CPU for the shape of its windows."""
    _, steps, channels = x.shape
    if steps * channels <= backend.NARROW:
        return _banded_product(x, kernel, stride, left)
    few = steps < len(kernel) and steps.bit_count() == 1
    # In bfloat16, differences of weights would add rounding errors that other forms do not have.
    if few and stride == 1 and x.dtype == jnp.float32:
        return _karatsuba(x, _diagonals(kernel, steps, left))
    return _tap_products(x, kernel, stride, left)


def _banded_product(x: Array, kernel: Sequence[Array], stride: int, left: int) -> Array:
    """One product with a banded matrix: zeros cost less than many small operations."""
    batch, steps, _ = x.shape
    zeros = jnp.zeros_like(kernel[0])

    def rows(step: int) -> Array:
        taps = [step - output * stride + left for output in range(steps // stride)]
        blocks = [kernel[tap] if 0 <= tap < len(kernel) else zeros for tap in taps]
        return jnp.concatenate(blocks, axis=1)

    matrix = jnp.concatenate([rows(step) for step in range(steps)])
    return (x.reshape(batch, -1) @ matrix).reshape(batch, steps // stride, -1)


def _tap_products(x: Array, kernel: Sequence[Array], stride: int, left: int) -> Array:
    """One product for each tap, over the steps that do not fall on padding.

    Each tap's weights are a separate array, read in place, because copying them into a larger one
    would take longer than the product.
    """
    batch, steps, channels = x.shape
    outputs = steps // stride
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


def _diagonals(kernel: Sequence[Array], steps: int, left: int) -> list[Array]:
    """The weights between all pairs of steps, by output minus input: 1 - T to T - 1."""
    taps = [left - offset for offset in range(1 - steps, steps)]
    return [kernel[tap] if 0 <= tap < len(kernel) else jnp.zeros_like(kernel[0]) for tap in taps]


def _karatsuba(x: Array, diagonals: Sequence[Array]) -> Array:
    """y_i = sum_j x_j d_{i - j} of T steps, a power of two, in 3 ** log2(T) products.

    Both halves of the output depend on both halves of the input. The weights within either half
    are the same, so both outputs share their product with the sum of the halves, and each is
    corrected by the product of the other half with a difference of weights (Karatsuba & Ofman
    1962): three products of half the size instead of four.
    """
    half = x.shape[1] // 2
    if not half:
        return x @ diagonals[0]
    within = diagonals[half : 3 * half - 1]

    def minus_within(across: Sequence[Array]) -> list[Array]:
        return [other - own for other, own in zip(across, within, strict=True)]

    first, last = x[:, :half], x[:, half:]
    both = _karatsuba(first + last, within)
    to_first = _karatsuba(last, minus_within(diagonals[: 2 * half - 1]))
    to_last = _karatsuba(first, minus_within(diagonals[2 * half :]))
    return jnp.concatenate([both + to_first, both + to_last], axis=1)
