"""Noise schedules: x = alpha x_0 + sigma noise, with alpha and sigma functions of time.

Time 0 is clean data (alpha 1, sigma 0), and sigma / alpha grows with time; each schedule has its
own unit of time. To add a schedule, write a frozen dataclass here and add it to `SCHEDULES`.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.errors import require
from dawm_jax.settings import (
    Few,
    GridExponent,
    HighestNoise,
    LogNoiseDeviation,
    LogNoiseMean,
    LowestNoise,
    check_settings,
)
from dawm_jax.types import AnyArray, Array


class Schedule(Protocol):
    """How noise is added to data.

    `alpha` and `sigma` have the shape of `time`: float32 in a compiled program, and float64 on the
    host, where the coefficients of a sampler are computed.
    """

    __dataclass_fields__: ClassVar[dict]

    def draw(self, key: Array, count: int) -> Array:
        """(count,) times for training."""

    def alpha(self, time: AnyArray) -> AnyArray:
        """The factor of the clean data."""

    def sigma(self, time: AnyArray) -> AnyArray:
        """The factor of the noise, which has unit variance."""

    def clock(self, time: AnyArray) -> Array:
        """The network's input for `time`, on a scale that a sinusoidal embedding resolves."""

    def grid(self, count: int) -> np.ndarray:
        """The `count` times that a sampler visits, the noisiest first, followed by 0.

        Returns:
            (count + 1,) descending.

        Raises:
            UserError: the schedule has fewer than `count` times.
        """


@dataclass(frozen=True)
class Cosine:
    """The cosine schedule in discrete steps (Nichol & Dhariwal 2021): time is a step from 0 to K.

    Variance preserving: alpha^2 is alpha-bar and sigma^2 is 1 - alpha-bar.
    """

    diffusion_steps: Few = 5  # K

    def __post_init__(self) -> None:
        check_settings(self)

    def draw(self, key: Array, count: int) -> Array:
        return jax.random.randint(key, (count,), 1, self.diffusion_steps + 1)

    def alpha(self, time: AnyArray) -> AnyArray:
        return _entries(np.sqrt(cosine_signal_rate(self.diffusion_steps)), time)

    def sigma(self, time: AnyArray) -> AnyArray:
        return _entries(np.sqrt(1.0 - cosine_signal_rate(self.diffusion_steps)), time)

    def clock(self, time: AnyArray) -> Array:
        return jnp.asarray(time)

    def grid(self, count: int) -> np.ndarray:
        return np.append(visited_steps(self.diffusion_steps, count)[::-1], 0)


@dataclass(frozen=True)
class Elucidated:
    """Elucidated diffusion (Karras et al. 2022, table 1): alpha is 1, and time is sigma itself.

    Training draws sigma from a log-normal distribution. A sampler's grid is evenly
    spaced in sigma^(1 / rho): the larger rho, the denser at low noise.
    """

    noise_mean: LogNoiseMean = -1.2  # mean of log(sigma) in training
    noise_deviation: LogNoiseDeviation = 1.2  # standard deviation of log(sigma) in training
    sigma_min: LowestNoise = 0.002  # the last noise level that a sampler visits
    sigma_max: HighestNoise = 80.0  # the first noise level that a sampler visits
    rho: GridExponent = 7.0

    def __post_init__(self) -> None:
        check_settings(self)

    def draw(self, key: Array, count: int) -> Array:
        return jnp.exp(self.noise_mean + self.noise_deviation * jax.random.normal(key, (count,)))

    def alpha(self, time: AnyArray) -> AnyArray:
        return time**0  # 1, of the type of `time`

    def sigma(self, time: AnyArray) -> AnyArray:
        return time

    def clock(self, time: AnyArray) -> Array:
        return jnp.log(time) / 4.0

    def grid(self, count: int) -> np.ndarray:
        first, last = (sigma ** (1.0 / self.rho) for sigma in (self.sigma_max, self.sigma_min))
        return np.append(np.linspace(first, last, count) ** self.rho, 0.0)


@dataclass(frozen=True)
class RectifiedFlow:
    """Flow matching along straight lines (Lipman et al. 2023; Liu et al. 2023).

    Time runs from data at 0 to pure noise at 1: alpha is 1 - time, and sigma is time.
    """

    def draw(self, key: Array, count: int) -> Array:
        return jax.random.uniform(key, (count,))

    def alpha(self, time: AnyArray) -> AnyArray:
        return 1.0 - time

    def sigma(self, time: AnyArray) -> AnyArray:
        return time

    def clock(self, time: AnyArray) -> Array:
        return 1000.0 * jnp.asarray(time)  # the range of the steps of DDPM (Ho et al. 2020)

    def grid(self, count: int) -> np.ndarray:
        return np.linspace(1.0, 0.0, count + 1)


SCHEDULES: dict[str, type[Schedule]] = {
    "cosine": Cosine,
    "elucidated": Elucidated,
    "flow": RectifiedFlow,
}


def _entries(table: np.ndarray, step: AnyArray) -> AnyArray:
    """The entries `step` of a float64 table, in float64 on the host and float32 if traced."""
    return table[step] if isinstance(step, np.ndarray) else jnp.asarray(table, jnp.float32)[step]


def cosine_signal_rate(steps: int, max_beta: float = 0.999) -> np.ndarray:
    """Alpha-bar of the cosine schedule (Nichol & Dhariwal 2021, eq. 17).

    Returns:
        (steps + 1,) float64: the share of the signal's variance left after each diffusion step,
        from 1 at step 0.
    """
    time = np.arange(steps + 1) / steps
    curve = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
    beta = np.minimum(1.0 - curve[1:] / curve[:-1], max_beta)
    return np.concatenate([[1.0], np.cumprod(1.0 - beta)])


def visited_steps(steps: int, sampling_steps: int) -> np.ndarray:
    """The `sampling_steps` of 1 .. `steps` that sampling visits, ascending.

    Equally spaced with both ends included, rounded half to even; a single step is the last one.

    Raises:
        UserError: `sampling_steps` is not between 1 and `steps`.
    """
    require(
        1 <= sampling_steps <= steps,
        f"sampling_steps is {sampling_steps}; it must be between 1 and diffusion_steps, {steps}",
    )
    if sampling_steps == 1:
        return np.array([steps])
    return np.round(np.linspace(0, steps - 1, sampling_steps)).astype(int) + 1
