import numpy as np
import pytest

from dawm_jax.evaluation.scores import bootstrap_interval, interquartile_mean, normalized_score


def test_normalized_score_of_hopper_by_hand():
    random, expert = -20.272305, 3234.3
    returns = [random, expert, (random + expert) / 2, 1425.81]
    expected = [0.0, 100.0, 50.0, 100 * (1425.81 + 20.272305) / 3254.572305]
    np.testing.assert_allclose(normalized_score(returns, (random, expert)), expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3, 100], 2.5), ([7], 7), ([0, 10, 20, 30, 40, 50, 60, 1000], 35)],
)
def test_interquartile_mean_drops_the_outer_quarters(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)


def test_bootstrap_interval_equals_quantiles_of_resampled_means():
    values = np.random.default_rng(3).normal(50.0, 10.0, 12)
    picks = np.random.default_rng(4).integers(0, len(values), (100_000, len(values)))
    expected = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
    np.testing.assert_allclose(bootstrap_interval(values), expected, atol=0.3)
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_bootstrap_interval_of_equal_or_single_values_is_a_point():
    assert bootstrap_interval([4.0, 4.0]) == (4.0, 4.0)
    assert bootstrap_interval([5.0]) == (5.0, 5.0)
