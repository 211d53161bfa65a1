"""Strided reverse processes, all of one form.

From step k to an earlier step j, x_j = c_0 x_0 + c_k x_k + s noise, where x_0 is the denoiser's
estimate. A sampler is the three coefficients as functions of the signal rates of k and of j.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.errors import require_choice
from dawm_jax.settings import Few, Strength, check_settings
from dawm_jax.types import Array

Coefficients = tuple[np.ndarray, np.ndarray, np.ndarray]


def ancestral(now: np.ndarray, before: np.ndarray) -> Coefficients:
    """The posterior q(x_j | x_k, x_0) (Ho et al. 2020, eq. 7; strided: Nichol & Dhariwal 2021)."""
    alpha = now / before
    x0 = np.sqrt(before) * (1.0 - alpha) / (1.0 - now)
    x = np.sqrt(alpha) * (1.0 - before) / (1.0 - now)
    return x0, x, np.sqrt((1.0 - before) / (1.0 - now) * (1.0 - alpha))


def ddim(now: np.ndarray, before: np.ndarray) -> Coefficients:
    """The deterministic process of DDIM (Song et al. 2020, eq. 12 with sigma 0)."""
    x = np.sqrt((1.0 - before) / (1.0 - now))
    return np.sqrt(before) - x * np.sqrt(now), x, np.zeros_like(now)


SAMPLERS: dict[str, Callable[[np.ndarray, np.ndarray], Coefficients]] = {
    "ancestral": ancestral,
    "ddim": ddim,
}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw from a trained model; another choice needs no other training.

    Raises:
        UserError: a setting is out of range or names an unknown sampler.
    """

    sampling_steps: Few = 3  # N of the K diffusion steps
    sampler: str = "ancestral"
    temperature: Strength = 0.5
    guidance_scale: Strength = 1.2

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("sampler", self.sampler, SAMPLERS)


def sample(
    estimate_x0: Callable[[Array, Array, Array], Array],
    noise: Callable[[Array], Array],
    signal_rate: np.ndarray,
    steps: np.ndarray,
    sampler: str,
    temperature: float,
) -> Array:
    """Denoises from pure noise.

    Args:
        estimate_x0: maps x_k, its step k () and signal rate () to the clean data.
        noise: maps the number of a draw () to a standard normal of the data's shape.
        signal_rate: (K + 1,) of the schedule.
        steps: (N,) the steps to visit, ascending.
        sampler: a key of `SAMPLERS`.
        temperature: factor of every standard deviation, the starting noise's too
            (Decision Diffuser's code).

    Returns:
        A sample of the data's shape.
    """
    now = signal_rate[steps]
    coefficients = SAMPLERS[sampler](now, signal_rate[np.concatenate([[0], steps[:-1]])])
    schedule = np.stack([steps, now, *coefficients], axis=1)[::-1]

    def denoise(x: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        draw, (step, rate, from_x0, from_x, deviation) = inputs
        x = from_x0 * estimate_x0(x, step, rate) + from_x * x
        return x + temperature * deviation * noise(draw), None

    draws = (jnp.arange(1, len(steps) + 1), jnp.asarray(schedule.copy(), jnp.float32))
    x, _ = jax.lax.scan(denoise, temperature * noise(jnp.int32(0)), draws)
    return x
