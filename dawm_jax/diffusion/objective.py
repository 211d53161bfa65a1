"""What the denoiser predicts, and how clean data follow from it.

With signal rate a, noised data are x_k = sqrt(a) x_0 + sqrt(1 - a) noise.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from dawm_jax.types import Array


class Parameterization(NamedTuple):
    """`target(x_0, noise, a)` is what is regressed; `to_x0(prediction, x_k, a)` inverts it."""

    target: Callable[[Array, Array, Array], Array]
    to_x0: Callable[[Array, Array, Array], Array]


PARAMETERIZATIONS = {
    # Ho et al. 2020, eq. 14.
    "epsilon": Parameterization(
        target=lambda x0, noise, a: noise,
        to_x0=lambda prediction, x, a: (x - jnp.sqrt(1.0 - a) * prediction) / jnp.sqrt(a),
    ),
    "x0": Parameterization(
        target=lambda x0, noise, a: x0,
        to_x0=lambda prediction, x, a: prediction,
    ),
    # Salimans & Ho 2022, appendix D.
    "v": Parameterization(
        target=lambda x0, noise, a: jnp.sqrt(a) * noise - jnp.sqrt(1.0 - a) * x0,
        to_x0=lambda prediction, x, a: jnp.sqrt(a) * x - jnp.sqrt(1.0 - a) * prediction,
    ),
}


def add_noise(x0: Array, noise: Array, signal_rate: Array) -> Array:
    """The forward process q(x_k | x_0) (Ho et al. 2020, eq. 4)."""
    return jnp.sqrt(signal_rate) * x0 + jnp.sqrt(1.0 - signal_rate) * noise
