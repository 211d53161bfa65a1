"""Normalized scores, and statistics over seeds."""

from collections.abc import Sequence

import numpy as np
import scipy  # submodules such as stats load on first use


def normalized_score(
    returns: np.ndarray | Sequence[float], reference: tuple[float, float]
) -> np.ndarray:
    """D4RL's score (Fu et al. 2020): 0 for the first reference return, 100 for the second."""
    low, high = reference
    return 100.0 * (np.asarray(returns, np.float64) - low) / (high - low)


def interquartile_mean(values: np.ndarray | Sequence[float]) -> float:
    """The mean of the middle half (Agarwal et al. 2021)."""
    return float(scipy.stats.trim_mean(values, 0.25))


def bootstrap_interval(
    values: np.ndarray | Sequence[float], resamples: int = 9999
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean; deterministic."""
    values = np.asarray(values, np.float64)
    if np.ptp(values) == 0.0:
        return float(values[0]), float(values[0])
    interval = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)
