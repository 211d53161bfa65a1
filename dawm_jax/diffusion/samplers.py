"""Reverse processes on a grid of times, all of the same form.

From a time t to the next s, x_s = a x_0 + b x_0' + c x_t + d noise, where x_0 is the denoiser's
estimate at t and x_0' the previous one. A sampler is these four coefficients as functions of alpha
and sigma on the grid.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.diffusion.schedule import Schedule
from dawm_jax.errors import require_choice
from dawm_jax.settings import Few, Share, Strength, check_settings
from dawm_jax.types import Array

Coefficients = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def ancestral(alpha: np.ndarray, sigma: np.ndarray) -> Coefficients:
    """The posterior q(x_s | x_t, x_0) (Ho et al. 2020, eq. 7; any schedule: Kingma et al. 2021)."""
    ratio = alpha[:-1] / alpha[1:]
    # The share of x_t's noise variance that is added between s and t.
    added = 1.0 - (ratio * sigma[1:] / sigma[:-1]) ** 2
    x = ratio * (sigma[1:] / sigma[:-1]) ** 2
    return alpha[1:] * added, np.zeros_like(x), x, sigma[1:] * np.sqrt(added)


def ddim(alpha: np.ndarray, sigma: np.ndarray) -> Coefficients:
    """The deterministic process of DDIM (Song et al. 2020, eq. 12 with sigma 0), of first order."""
    x = sigma[1:] / sigma[:-1]
    return alpha[1:] - x * alpha[:-1], np.zeros_like(x), x, np.zeros_like(x)


def dpm_solver_2m(alpha: np.ndarray, sigma: np.ndarray) -> Coefficients:
    """DPM-Solver++(2M), of second order (Lu et al. 2022, algorithm 2).

    `ddim` with the estimate extrapolated to the middle of the step in log(alpha / sigma), except
    in the first step, which has no previous estimate, and the last, which is infinitely long.
    """
    from_x0, _, x, deviation = ddim(alpha, sigma)
    with np.errstate(divide="ignore"):  # infinite at clean data and at pure noise
        step = np.diff(np.log(alpha) - np.log(sigma))
    extrapolation = np.zeros_like(x)
    extrapolation[1:-1] = step[1:-1] / (2.0 * step[:-2])
    return from_x0 * (1.0 + extrapolation), -from_x0 * extrapolation, x, deviation


SAMPLERS: dict[str, Callable[[np.ndarray, np.ndarray], Coefficients]] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "dpm_solver_2m": dpm_solver_2m,
}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to sample from a trained model; a change needs no retraining.

    With K = 5, the defaults give samples that differ from each other as much as from the truth
    (`fidelity.rollouts.spread`), where DAWM's own (3 steps, temperature 0.5, guidance 1.2) give
    almost the conditional mean. They need five forward passes instead of six. Two visited times at
    temperature 3.25 are calibrated at the first step, too, but farther from the recorded data.

    Raises:
        UserError: a setting is out of range or names an unknown sampler.
    """

    sampling_steps: Few = 5  # N, the number of visited times, with one estimate at each
    sampler: str = "ancestral"
    temperature: Strength = 1.75
    guidance_scale: Strength = 1.0
    # The share of the visited times, the last ones, that a recorded window is denoised from, noised
    # to the first of them (GTA, Lee et al. 2024: 0.5); 1: windows are denoised from pure noise.
    start: Share = 1.0

    @property
    def remaining(self) -> int:
        """The number of visited times that `start` leaves, rounded half up."""
        return int(self.start * self.sampling_steps + 0.5)

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("sampler", self.sampler, SAMPLERS)


def sample(
    estimate_x0: Callable[[Array, Array, Array, Array], Array],
    noise: Callable[[Array], Array],
    schedule: Schedule,
    times: np.ndarray,
    sampler: str,
    temperature: float,
    recorded: Array | None = None,
) -> Array:
    """Denoises from pure noise, or from recorded data noised to the first time.

    Args:
        estimate_x0: maps x and its time's clock (), alpha () and sigma () to the clean data.
        noise: maps a draw's number () to standard normal noise of the data's shape.
        schedule: the noise schedule.
        times: (N + 1,) the schedule's `grid`, or its last times.
        sampler: a key of `SAMPLERS`.
        temperature: scales every standard deviation, including that of the starting noise
            (Decision Diffuser's code).
        recorded: clean data.

    Returns:
        A sample of the data's shape.
    """
    alpha, sigma = np.asarray(schedule.alpha(times)), np.asarray(schedule.sigma(times))
    coefficients = SAMPLERS[sampler](alpha, sigma)
    known = (schedule.clock(times[:-1]), alpha[:-1], sigma[:-1], *coefficients)
    rows = tuple(jnp.asarray(column, jnp.float32) for column in known)

    def denoise(
        carry: tuple[Array, Array], inputs: tuple[Array, tuple[Array, ...]]
    ) -> tuple[tuple[Array, Array], None]:
        x, previous = carry
        draw, (clock, alpha, sigma, from_x0, from_previous, from_x, deviation) = inputs
        x0 = estimate_x0(x, clock, alpha, sigma)
        x = from_x0 * x0 + from_previous * previous + from_x * x
        return (x + temperature * deviation * noise(draw), x0), None

    if recorded is None:
        # For data of unit variance; 1 if the schedule preserves the variance.
        deviation = np.float32(np.sqrt(alpha[0] ** 2 + sigma[0] ** 2))
        start = temperature * deviation * noise(jnp.int32(0))
    else:
        deviation = np.float32(temperature * sigma[0])
        start = np.float32(alpha[0]) * recorded + deviation * noise(jnp.int32(0))
    carry = (start, jnp.zeros_like(start))
    (x, _), _ = jax.lax.scan(denoise, carry, (jnp.arange(1, len(times)), rows))
    return x
