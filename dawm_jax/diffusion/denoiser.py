"""The loss and the sampling of a denoiser of channels (B, T, C), whatever the channels mean."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import chex
import jax
import jax.numpy as jnp

from dawm_jax.diffusion.guidance import condition_mask, guide
from dawm_jax.diffusion.objective import PARAMETERIZATIONS, Parameterization, add_noise
from dawm_jax.diffusion.samplers import Sampling, sample
from dawm_jax.diffusion.schedule import SCHEDULES, Cosine, Elucidated, Schedule
from dawm_jax.errors import require, require_choice
from dawm_jax.settings import (
    Dropout,
    Few,
    GridExponent,
    HighestNoise,
    LogNoiseDeviation,
    LogNoiseMean,
    LowestNoise,
    check_settings,
)
from dawm_jax.types import Array

# Maps x (B, T, C), the clock of its time (B,) and the condition mask (B,) to a prediction.
Predict = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Diffusion:
    """Settings of the diffusion process and of the prediction target.

    A setting of a single schedule is described there and may be changed with that schedule only.

    Raises:
        UserError: a setting is out of range, names an unknown choice, or does not fit the schedule.
    """

    schedule: str = "cosine"
    parameterization: str = "x0"
    condition_dropout: Dropout = 0.25
    diffusion_steps: Few = Cosine.diffusion_steps  # K
    noise_mean: LogNoiseMean = Elucidated.noise_mean
    noise_deviation: LogNoiseDeviation = Elucidated.noise_deviation
    sigma_min: LowestNoise = Elucidated.sigma_min
    sigma_max: HighestNoise = Elucidated.sigma_max
    rho: GridExponent = Elucidated.rho

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("schedule", self.schedule, SCHEDULES)
        require_choice("parameterization", self.parameterization, PARAMETERIZATIONS)
        name, owner = type(self).__name__, SCHEDULES[self.schedule]
        for other, kind in SCHEDULES.items():
            for field in fields(kind):
                value = getattr(self, field.name)
                require(
                    kind is owner or value == field.default,
                    f"{name}.{field.name} is {value}, but the schedule '{self.schedule}' does not "
                    f"use it; leave it at {field.default} or choose the schedule '{other}'",
                )
        start = self.process.grid(1)[:1]
        alpha, sigma = (float(of(start)[0]) for of in (self.process.alpha, self.process.sigma))
        require(
            self.parameterization != "epsilon" or alpha > 0.0,
            f"parameterization 'epsilon' does not fit the schedule '{self.schedule}': sampling "
            "starts from pure noise, where the noise does not determine the clean data. "
            "Use 'velocity', 'v' or 'x0'.",
        )
        require(
            self.parameterization == "preconditioned" or sigma <= 1.0,
            f"parameterization '{self.parameterization}' does not fit the schedule "
            f"'{self.schedule}': its noise level exceeds 1, so the network's input must be scaled. "
            "Use 'preconditioned'.",
        )

    @property
    def process(self) -> Schedule:
        """The schedule of these settings."""
        kind = SCHEDULES[self.schedule]
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})

    @property
    def objective(self) -> Parameterization:
        return PARAMETERIZATIONS[self.parameterization]


def denoising_loss(
    diffusion: Diffusion, predict: Predict, x0: Array, mask: Array, key: Array
) -> Array:
    """Mean squared error of the prediction (Ho et al. 2020, eq. 14), over the entries in `mask`.

    Args:
        predict: the network; its input is the noised data times the objective's `input_scale`.
        x0: (B, T, C) clean data.
        mask: (B, T, C) bool; the entries that enter the loss.
    """
    process, objective = diffusion.process, diffusion.objective
    time_key, noise_key, keep_key = jax.random.split(key, 3)
    time = process.draw(time_key, len(x0))
    alpha, sigma = (jnp.asarray(of(time))[:, None, None] for of in (process.alpha, process.sigma))
    noise = jax.random.normal(noise_key, x0.shape)
    keep = condition_mask(keep_key, len(x0), diffusion.condition_dropout)
    x = objective.input_scale(alpha, sigma) * add_noise(x0, noise, alpha, sigma)
    prediction = predict(x, process.clock(time), keep)
    target = objective.target(x0, noise, alpha, sigma)
    chex.assert_equal_shape([prediction, target, mask])
    return jnp.sum(mask * (prediction - target) ** 2) / jnp.sum(mask)


def denoise(
    diffusion: Diffusion,
    predict: Predict,
    clip: Callable[[Array], Array],
    keys: Array,
    shape: tuple[int, int],
    sampling: Sampling,
    recorded: Array | None = None,
) -> Array:
    """Draws samples with classifier-free guidance.

    Args:
        predict: the network, as in training.
        clip: clips an estimate of the clean data (B, T, C) to the data's range.
        keys: (B,) one key per sample, so that a sample does not depend on its batch.
        shape: (T, C).
        recorded: (B, T, C) clean data to start from, noised as `sampling.start` says; without,
            samples start from pure noise.

    Returns:
        (B, T, C).

    Raises:
        UserError: sampling visits more times than the schedule has.
    """
    process, objective = diffusion.process, diffusion.objective

    def estimate_x0(x: Array, clock: Array, alpha: Array, sigma: Array) -> Array:
        def predict_at(x: Array, keep: Array) -> Array:
            return predict(x, jnp.full(len(x), clock), keep)

        prediction = guide(predict_at, sampling.guidance_scale)(
            objective.input_scale(alpha, sigma) * x
        )
        return clip(objective.to_x0(prediction, x, alpha, sigma))

    def noise(draw: Array) -> Array:
        draw_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, draw)
        return jax.vmap(lambda key: jax.random.normal(key, shape))(draw_keys)

    times = process.grid(sampling.sampling_steps)
    if recorded is not None:
        times = times[-1 - sampling.remaining :]
    settings = (times, sampling.sampler, sampling.temperature)
    return sample(estimate_x0, noise, process, *settings, recorded)
