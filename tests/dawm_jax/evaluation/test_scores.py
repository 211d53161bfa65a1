import numpy as np
import pytest

from dawm_jax.evaluation.scores import (
    interquartile_mean,
    mean_interval,
    normalized_score,
    probability_of_improvement,
    smallest_effect,
    stratified_interval,
)


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


def test_mean_interval_by_hand():
    """Mean 3, deviation sqrt(2.5), and 2.776 from a table of Student's t with 4 degrees."""
    half = 2.776445 * np.sqrt(2.5 / 5)
    np.testing.assert_allclose(mean_interval([1, 2, 3, 4, 5]), [3 - half, 3 + half], rtol=1e-6)
    assert mean_interval([4.0] * 5) == (4.0, 4.0)


@pytest.mark.parametrize("statistic", [mean_interval, smallest_effect])
def test_fewer_than_five_values_have_no_interval(statistic):
    assert statistic([1.0, 2.0, 3.0, 4.0]) is None
    assert statistic([]) is None


def test_mean_interval_covers_the_true_mean_in_95_of_100_experiments():
    samples = np.random.default_rng(0).normal(50.0, 10.0, (4000, 8))
    low, high = np.transpose([mean_interval(sample) for sample in samples])
    assert np.mean((low < 50.0) & (high > 50.0)) == pytest.approx(0.95, abs=0.012)


def test_the_smallest_effect_is_seen_in_four_of_five_experiments():
    rng, seen, effect = np.random.default_rng(0), [], []
    for sample in rng.normal(0.0, 10.0, (4000, 8)):
        effect.append(smallest_effect(sample))
    for sample in rng.normal(np.mean(effect), 10.0, (4000, 8)):
        low, _ = mean_interval(sample)
        seen.append(low > 0.0)
    assert np.mean(seen) == pytest.approx(0.8, abs=0.04)


def test_stratified_interval_resamples_within_data_sets():
    """Strata without spread have a point; with equal strata it is near the one of pooled values."""
    assert stratified_interval([[1.0] * 3, [9.0] * 3]) == (5.0, 5.0)
    values = np.random.default_rng(1).normal(50.0, 10.0, 40)
    rng = np.random.default_rng(2)
    picks = values[rng.integers(0, 40, (20_000, 40))]
    middle = np.sort(picks, axis=1)[:, 10:30].mean(axis=1)
    expected = np.quantile(middle, [0.025, 0.975])
    np.testing.assert_allclose(stratified_interval([values]), expected, atol=0.3)


def test_probability_of_improvement_by_hand():
    assert probability_of_improvement([2.0, 4.0], [1.0, 2.0, 5.0]) == (1.5 + 2.0) / 6.0
