"""Invertible maps, per feature, from data to the scale of a network's inputs."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.types import Array

KNOTS = 1024
SMALLEST = 1e-30  # usable scale: devices flush numbers not much smaller to 0
ROUNDING = 1e-6  # relative; float32 numbers that differ by less count as equal


class Affine(struct.PyTreeNode):
    """y = (x - offset) / scale."""

    offset: Array  # feature shape
    scale: Array  # feature shape
    low: Array  # feature shape; smallest normalized value of the data
    high: Array  # feature shape; largest normalized value of the data

    def normalize(self, x: Array) -> Array:
        return (x - self.offset) / self.scale

    def unnormalize(self, y: Array) -> Array:
        return y * self.scale + self.offset


class Quantile(struct.PyTreeNode):
    """The empirical distribution function, scaled to [-1, 1]: Diffuser's CDF normalizer.

    Piecewise linear between its knots; values outside the data's range are clipped to it.
    """

    knots: Array  # (features, KNOTS) strictly increasing
    levels: Array  # (features, KNOTS) strictly increasing, from -1 to 1

    @property
    def low(self) -> Array:
        return self.levels[:, 0]

    @property
    def high(self) -> Array:
        return self.levels[:, -1]

    def normalize(self, x: Array) -> Array:
        return _interpolate(x, self.knots, self.levels)

    def unnormalize(self, y: Array) -> Array:
        return _interpolate(y, self.levels, self.knots)


Normalizer = Affine | Quantile
_interpolate = jax.vmap(jnp.interp, in_axes=(-1, 0, 0), out_axes=-1)


def varies(data: np.ndarray) -> np.ndarray:
    """Whether each feature of float32 data (N, ...features) varies by more than rounding.

    Judged relative to the feature's own size, so that units do not matter.
    """
    largest = np.maximum(np.abs(data.min(0)), np.abs(data.max(0)))
    return data.std(0, dtype=np.float64) > np.maximum(ROUNDING * largest, SMALLEST)


def _fit_affine(data: np.ndarray, offset: np.ndarray, scale: np.ndarray) -> Affine:
    """An affine map; a constant feature is shifted but not scaled."""
    scale = np.where(varies(data), scale, 1.0)
    low, high = ((edge - offset) / scale for edge in (data.min(0), data.max(0)))
    return Affine(*(jnp.asarray(a, jnp.float32) for a in (offset, scale, low, high)))


def fit_standard(data: np.ndarray) -> Affine:
    """Maps to mean 0 and standard deviation 1. `data` is (N, ...features)."""
    data = np.asarray(data, np.float64)
    return _fit_affine(data, data.mean(0), data.std(0))


def fit_minmax(data: np.ndarray) -> Affine:
    """Maps the data's range to [-1, 1]. `data` is (N, ...features)."""
    data = np.asarray(data, np.float64)
    return _fit_affine(data, (data.max(0) + data.min(0)) / 2, (data.max(0) - data.min(0)) / 2)


def fit_quantile(data: np.ndarray) -> Quantile:
    """Maps to a uniform distribution over [-1, 1]. `data` is (N, features)."""
    pairs = [_cdf(column) for column in np.asarray(data, np.float32).T]
    knots, levels = (
        jnp.asarray(np.stack(arrays), jnp.float32) for arrays in zip(*pairs, strict=True)
    )
    return Quantile(knots, levels)


def _cdf(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots and levels of one feature; a constant value lies in the middle of its interval."""
    values, counts = np.unique(column, return_counts=True)
    if len(values) == 1:
        unit = np.linspace(-1.0, 1.0, KNOTS)
        return values[0] + unit * max(1.0, abs(float(values[0]))), unit
    share = np.cumsum(counts) - counts[0]
    level = 2.0 * share / share[-1] - 1.0
    if len(values) > KNOTS:  # knots at even steps of probability, both ends included
        keep = np.unique(np.searchsorted(level, np.linspace(-1.0, 1.0, KNOTS)))
        values, level = values[keep], level[keep]
    position = np.linspace(0, len(values) - 1, KNOTS)
    index = np.arange(len(values))
    knots = np.interp(position, index, values.astype(np.float64))
    return knots, np.interp(position, index, level)


def concatenate(parts: Sequence[Normalizer]) -> Normalizer:
    """One normalizer for the features of all `parts`, which are of the same kind."""
    axis = 0 if isinstance(parts[0], Quantile) else -1
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis), *parts)


NORMALIZERS: dict[str, Callable[[np.ndarray], Normalizer]] = {
    "standard": fit_standard,
    "minmax": fit_minmax,
    "quantile": fit_quantile,
}
