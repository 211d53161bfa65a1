"""Noise schedules and the diffusion steps that a sampler visits."""

import numpy as np

from dawm_jax.errors import require


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

    Equally spaced with both ends included, rounded half to even; a single one is the last.

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
