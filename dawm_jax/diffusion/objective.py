"""What the denoiser predicts, and how the clean data are recovered from it.

The formulas hold for any alpha and sigma of the noised data, x = alpha x_0 + sigma noise.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from dawm_jax.types import Array


class Parameterization(NamedTuple):
    """A kind of prediction, fitted by its unweighted squared error.

    `target(x_0, noise, alpha, sigma)` is the regression target, `to_x0(prediction, x, alpha,
    sigma)` recovers x_0, and `input_scale(alpha, sigma)` multiplies x in the network's input.
    """

    target: Callable[[Array, Array, Array, Array], Array]
    to_x0: Callable[[Array, Array, Array, Array], Array]
    input_scale: Callable[[Array, Array], Array | float] = lambda alpha, sigma: 1.0


def unit_scale(alpha: Array, sigma: Array) -> Array:
    """The factor that scales noised data to unit variance, given clean data of unit variance."""
    return 1.0 / jnp.sqrt(alpha**2 + sigma**2)


PARAMETERIZATIONS = {
    # Ho et al. 2020, eq. 14.
    "epsilon": Parameterization(
        target=lambda x0, noise, alpha, sigma: noise,
        to_x0=lambda prediction, x, alpha, sigma: (x - sigma * prediction) / alpha,
    ),
    "x0": Parameterization(
        target=lambda x0, noise, alpha, sigma: x0,
        to_x0=lambda prediction, x, alpha, sigma: prediction,
    ),
    # Salimans & Ho 2022, appendix D, where alpha^2 + sigma^2 = 1.
    "v": Parameterization(
        target=lambda x0, noise, alpha, sigma: alpha * noise - sigma * x0,
        to_x0=lambda prediction, x, alpha, sigma: (
            (alpha * x - sigma * prediction) / (alpha**2 + sigma**2)
        ),
    ),
    # Lipman et al. 2023, example II: dx / dtime of rectified flow, where alpha + sigma = 1.
    "velocity": Parameterization(
        target=lambda x0, noise, alpha, sigma: noise - x0,
        to_x0=lambda prediction, x, alpha, sigma: (x - sigma * prediction) / (alpha + sigma),
    ),
    # Karras et al. 2022, eqs. 7 and 8, for any alpha and data of unit variance: x_0 is estimated as
    # c_skip x + c_out F(c_in x), where F is the network. They weight the squared error by
    # 1 / c_out^2, so F is fitted to (x_0 - c_skip x) / c_out. Most of x_0 cancels in it at low
    # noise, so it is rewritten here. Where alpha^2 + sigma^2 = 1, the target is -v.
    "preconditioned": Parameterization(
        target=lambda x0, noise, alpha, sigma: (
            unit_scale(alpha, sigma) * (sigma * x0 - alpha * noise)
        ),
        to_x0=lambda prediction, x, alpha, sigma: (
            unit_scale(alpha, sigma) ** 2 * alpha * x
            + unit_scale(alpha, sigma) * sigma * prediction
        ),
        input_scale=unit_scale,
    ),
}


def add_noise(x0: Array, noise: Array, alpha: Array, sigma: Array) -> Array:
    """The forward process q(x | x_0) (Kingma et al. 2021, eq. 1)."""
    return alpha * x0 + sigma * noise
