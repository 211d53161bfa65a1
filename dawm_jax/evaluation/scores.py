"""Normalized scores, and statistics over seeds."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
import scipy  # submodules such as stats load on first use

Values = np.ndarray | Sequence[float]
FEWEST = 5  # seeds of which an interval is computed; of fewer, their range tells as much


def normalized_score(returns: Values, reference: tuple[float, float]) -> np.ndarray:
    """D4RL's score (Fu et al. 2020): 0 for the first reference return, 100 for the second."""
    low, high = reference
    return 100.0 * (np.asarray(returns, np.float64) - low) / (high - low)


def interquartile_mean(values: Values) -> float:
    """The mean of the middle half (Agarwal et al. 2021)."""
    return float(scipy.stats.trim_mean(values, 0.25))


def mean_interval(values: Values) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean; None for fewer than `FEWEST` values.

    Percentile bootstraps of the mean are too short for the five to twenty seeds of an experiment.
    """
    values = np.asarray(values, np.float64)
    if len(values) < FEWEST:
        return None
    half = _quantile(0.975, values) * _standard_error(values)
    return float(values.mean() - half), float(values.mean() + half)


def smallest_effect(differences: Values) -> float | None:
    """The smallest true mean that such differences would show in four of five experiments.

    (t_0.975 + t_0.8) times the standard error: a two-sided test at 5 % with a power of 80 %.
    """
    differences = np.asarray(differences, np.float64)
    if len(differences) < FEWEST:
        return None
    quantiles = _quantile(0.975, differences) + _quantile(0.8, differences)
    return float(quantiles * _standard_error(differences))


def stratified_interval(strata: Sequence[Values], resamples: int = 9999) -> tuple[float, float]:
    """The 95 % bootstrap interval of the interquartile mean over all strata (Agarwal et al. 2021).

    Args:
        strata: a data set's values, one a seed; seeds are resampled within each data set.
    """
    rng = np.random.default_rng(0)
    drawn = [
        np.asarray(stratum, np.float64)[rng.integers(0, len(stratum), (resamples, len(stratum)))]
        for stratum in strata
    ]
    means = scipy.stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def probability_of_improvement(values: Values, others: Values) -> float:
    """P(value > other) + P(value = other) / 2 over all pairs (Agarwal et al. 2021)."""
    pairs = np.subtract.outer(np.asarray(values, np.float64), np.asarray(others, np.float64))
    return float(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) / sqrt(len(values))


def _quantile(probability: float, values: np.ndarray) -> float:
    """Of Student's t distribution for the mean of `values`."""
    return float(scipy.stats.t.ppf(probability, len(values) - 1))
