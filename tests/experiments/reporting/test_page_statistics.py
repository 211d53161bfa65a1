"""The statistics of the page against numpy, scipy and loops."""

import numpy as np
import pytest
import scipy

from experiments.reporting.page import plots, statistics
from experiments.reporting.page.data import at_bounds, occupied
from experiments.reporting.page.statistics import Projection
from experiments.reporting.page.synthetic import terminal_rates

RNG = np.random.default_rng(0)


def test_values_beyond_the_edges_count_in_the_outermost_bins():
    values = np.concatenate([np.arange(1000.0), [1e9, -1e9]])
    bounds = statistics.edges(values, bins=10)
    assert bounds[0] >= -1.0
    assert bounds[-1] <= 1000.0
    shares = statistics.shares(values, bounds)
    expected = [sum(bounds[i] < v <= bounds[i + 1] for v in values) / 1002 for i in range(1, 9)]
    np.testing.assert_allclose(shares[1:-1], expected, atol=0.0011)  # which edge a bin includes
    assert shares.sum() == pytest.approx(1.0)
    assert shares[-1] == pytest.approx(np.mean(values >= bounds[-2]))


def test_a_constant_has_edges_around_it():
    assert np.all(np.diff(statistics.edges(np.full(9, 3.0))) > 0)


def test_the_distance_of_distributions_is_kolmogorov_s():
    recorded, synthetic = RNG.normal(size=200), RNG.normal(0.3, 2.0, size=333).round(1)
    expected = scipy.stats.ks_2samp(recorded, synthetic).statistic
    assert statistics.distance(recorded, synthetic) == pytest.approx(expected)
    assert statistics.distance(recorded, recorded) == 0.0
    assert statistics.distance(recorded, recorded + 100.0) == 1.0


def test_the_projection_is_that_of_a_singular_value_decomposition():
    rows = RNG.normal(size=(500, 4)) @ RNG.normal(size=(4, 4)) * [1e-3, 1.0, 50.0, 2.0] + 7.0
    rows = np.hstack([rows, np.full((500, 1), 3.0)])  # a feature that never changes
    projection = Projection.of(rows)
    scaled = (rows[:, :4] - rows[:, :4].mean(0)) / rows[:, :4].std(0)
    _, values, vectors = np.linalg.svd(scaled, full_matrices=False)
    variances = values**2
    np.testing.assert_allclose(
        np.abs(projection(rows)), np.abs(scaled @ vectors[:2].T), rtol=1e-6, atol=1e-8
    )
    assert projection.share == pytest.approx(variances[:2].sum() / variances.sum())
    assert projection.dimension == pytest.approx(variances.sum() ** 2 / np.sum(variances**2))


def test_the_dimension_of_rows_on_a_line_is_one():
    line = np.outer(RNG.normal(size=100), [1.0, -2.0, 3.0])
    assert Projection.of(line).dimension == pytest.approx(1.0)


def test_uncovered_is_the_share_in_empty_cells():
    points, others = RNG.normal(size=(200, 2)), RNG.normal(size=(50, 2))
    grid = plots.grid_of(others)

    def cell(point):
        return tuple(sum(bound < x for bound in grid[a]) for a, x in enumerate(point))

    taken = {cell(point) for point in others}
    expected = np.mean([cell(point) not in taken for point in points])
    assert 0.0 < expected < 1.0
    assert statistics.uncovered(points, others, grid) == pytest.approx(expected)
    assert statistics.uncovered(others, others, grid) == 0.0


def test_densities_and_means_in_cells_are_those_of_a_loop():
    points, weights = RNG.normal(size=(300, 2)), RNG.normal(size=300)
    grid = [np.linspace(-1.0, 1.0, 4)] * 2
    expected = np.zeros((3, 3))
    for point, weight in zip(np.clip(points, -1.0, 1.0), weights, strict=True):
        i, j = (min(int((x + 1.0) / 2.0 * 3), 2) for x in point)
        expected[i, j] += weight
    np.testing.assert_allclose(plots.sums(points, grid, weights), expected)
    assert plots.density(points, grid).sum() == pytest.approx(1.0)


def test_intervals_are_wilson_s():
    hits, counts = np.array([0, 3, 10, 0]), np.array([10, 17, 10, 0])
    low, high = statistics.interval(hits, counts)
    for i in range(3):
        expected = scipy.stats.binomtest(hits[i], counts[i]).proportion_ci(method="wilson")
        assert (low[i], high[i]) == pytest.approx(expected, abs=1e-12)
    assert (low[3], high[3]) == (0.0, 1.0)


def test_the_telling_feature_is_the_one_that_tells_flags_apart():
    rows = RNG.normal(size=(400, 3))
    assert statistics.telling_feature(rows, rows[:, 1] > 1.0) == 1
    assert statistics.telling_feature(rows, np.zeros(400, bool)) is None
    assert statistics.telling_feature(rows, np.ones(400, bool)) is None


def test_terminal_rates_count_every_row_once():
    values = RNG.normal(size=1000)
    recorded = values, values < -1.5
    synthetic = 3.0 * RNG.normal(size=500), RNG.uniform(size=500) < 0.2
    edges, counts = terminal_rates([recorded, synthetic])
    for (x, flags), (ends, rows) in zip((recorded, synthetic), counts, strict=True):
        assert rows.sum() == len(x)
        assert ends.sum() == flags.sum()
        inside = (x >= edges[2]) & (x < edges[3])
        assert (ends[2], rows[2]) == ((flags & inside).sum(), inside.sum())
    ends, rows = counts[0]
    below = edges[1:] <= -1.5  # bins apart from the one that the border lies in
    np.testing.assert_array_equal(ends[below], rows[below])


def test_the_use_of_actions_ranges():
    action = np.concatenate([np.full(90, 0.5), np.full(10, 1.0)])
    assert at_bounds(action) == 0.1
    assert at_bounds(-action) == 0.1
    assert occupied(action) == 2 / 20
    assert occupied(np.linspace(-1.0, 1.0, 1000)) == 1.0
