import numpy as np
import pytest

from dawm_jax.data.normalizer import KNOTS, NORMALIZERS, fit_minmax, fit_quantile, fit_standard

RNG = np.random.default_rng(0)
COLUMNS = {
    "normal": RNG.normal(size=3000),
    "heavy tails": RNG.standard_t(2, size=3000),
    "far from zero": 1e3 + RNG.uniform(size=3000),
    "tiny": 1e-4 * RNG.normal(size=3000),
    "few values": RNG.integers(0, 4, size=3000).astype(float),
    "an atom": np.where(RNG.uniform(size=3000) < 0.6, 0.0, RNG.normal(size=3000)),
    "constant": np.full(3000, 5.0),
    "one outlier": np.append(np.full(2999, -2.0), 7.0),
}
DATA = np.stack(list(COLUMNS.values()), axis=1).astype(np.float32)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_unnormalize_inverts_normalize_over_the_range_of_the_data(name):
    normalizer = NORMALIZERS[name](DATA)
    between = np.linspace(DATA.min(0), DATA.max(0), 777).astype(np.float32)
    for x in (DATA, between):
        restored = np.asarray(normalizer.unnormalize(normalizer.normalize(x)))
        # Where a quantile's level hardly changes, float32 resolves the value less precisely.
        tolerance = 1e-4 if name == "quantile" else 1e-6
        scale = np.maximum(np.ptp(DATA, axis=0), np.abs(DATA).max(0))
        assert (np.abs(restored - x) < tolerance * scale).all()


@pytest.mark.parametrize("name", NORMALIZERS)
def test_low_and_high_bound_the_normalized_data(name):
    normalizer = NORMALIZERS[name](DATA)
    normalized = np.asarray(normalizer.normalize(DATA))
    varies = np.ptp(DATA, axis=0) > 0
    np.testing.assert_allclose(normalizer.low[varies], normalized.min(0)[varies], atol=1e-3)
    np.testing.assert_allclose(normalizer.high[varies], normalized.max(0)[varies], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "offset", "scale"),
    [
        ("standard", DATA.mean(0, np.float64), DATA.std(0, dtype=np.float64)),
        (
            "minmax",
            (DATA.min(0).astype(float) + DATA.max(0)) / 2,
            (DATA.max(0).astype(float) - DATA.min(0)) / 2,
        ),
    ],
)
def test_affine_normalizers_against_numpy(name, offset, scale):
    expected = (DATA - offset) / np.where(scale == 0, 1, scale)
    np.testing.assert_allclose(NORMALIZERS[name](DATA).normalize(DATA), expected, atol=1e-3)


@pytest.mark.parametrize("fit", [fit_standard, fit_minmax])
def test_affine_normalizers_treat_every_feature_separately(fit):
    data = RNG.normal(size=(50, 4, 3)) * np.arange(1, 13).reshape(4, 3)
    whole = fit(data)
    assert whole.low.shape == whole.high.shape == (4, 3)
    for t in range(4):
        alone = fit(data[:, t]).normalize(data[:, t].astype(np.float32))
        np.testing.assert_allclose(whole.normalize(data.astype(np.float32))[:, t], alone, rtol=1e-5)


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("constant", [0.0, 5.0, -300.0])
def test_a_constant_is_shifted_to_zero_and_stays_invertible_beside_it(name, constant):
    normalizer = NORMALIZERS[name](np.full((10, 1), constant))
    assert float(normalizer.normalize(np.full((1, 1), constant))[0, 0]) == pytest.approx(
        0, abs=1e-5
    )
    beside = np.array([[constant + 0.5]])
    restored = normalizer.unnormalize(normalizer.normalize(beside))
    np.testing.assert_allclose(restored, beside, rtol=1e-5)
    assert np.isfinite(normalizer.low).all()
    assert np.isfinite(normalizer.high).all()


@pytest.mark.parametrize("count", [2, 3, 100, KNOTS, 5 * KNOTS])
def test_quantile_of_distinct_values_is_uniform(count):
    values = np.sort(RNG.standard_t(3, size=count)).astype(np.float32)
    normalized = fit_quantile(RNG.permutation(values)[:, None]).normalize(values[:, None])[:, 0]
    # Between its knots it is linear, so a value is off by a knot's share at most.
    np.testing.assert_allclose(normalized, np.linspace(-1, 1, count), atol=2.0 / (KNOTS - 1))


def test_quantile_spends_its_knots_where_the_data_are():
    # Half of the mass is on 600 of 20,600 values, each lighter than a knot's share of it.
    values = np.sort(RNG.standard_t(2, size=20_600)).astype(np.float32)
    counts = np.ones(len(values), int)
    counts[10_000:10_600] = 33
    column = np.repeat(values, counts)
    level = 2.0 * (np.cumsum(counts) - 1) / (len(column) - 1) - 1.0
    normalized = fit_quantile(column[:, None]).normalize(values[:, None])[:, 0]
    np.testing.assert_allclose(normalized, level, atol=3 * 2.0 / (KNOTS - 1))


def test_quantile_level_of_an_atom_is_the_share_up_to_it():
    # Shares after the lowest value: 0 of 8, 6 of 8, 8 of 8.
    column = np.array([0] * 2 + [1] * 6 + [3] * 2, np.float32)[:, None]
    normalized = fit_quantile(column).normalize(np.array([[0.0], [1.0], [2.0], [3.0]]))[:, 0]
    np.testing.assert_allclose(normalized, [-1, 0.5, 0.75, 1], atol=2e-3)


@pytest.mark.parametrize(
    "column",
    [
        *(DATA[:, index] for index in range(DATA.shape[1])),
        np.array([0.0, 1.0, np.nextafter(np.float32(1), np.float32(2)), 2.0]),
    ],
    ids=[*COLUMNS, "adjacent floats"],
)
def test_quantile_is_monotone_and_finite(column):
    normalizer = fit_quantile(column[:, None])
    x = np.linspace(column.min(), column.max(), 999).astype(np.float32)[:, None]
    for values in (
        normalizer.normalize(x),
        normalizer.unnormalize(np.linspace(-1, 1, 999)[:, None]),
    ):
        assert np.isfinite(values).all()
        assert (np.diff(values[:, 0]) >= 0).all()


def test_quantile_maps_values_outside_the_range_to_its_border():
    normalizer = fit_quantile(np.array([[-3.0], [0.0], [8.0]]))
    outside = np.array([[-100.0], [100.0]])
    np.testing.assert_allclose(normalizer.normalize(outside), [[-1], [1]])
    np.testing.assert_allclose(normalizer.unnormalize(outside), [[-3], [8]])


@pytest.mark.parametrize("name", NORMALIZERS)
def test_batches_of_windows_are_normalized_like_rows(name):
    normalizer = NORMALIZERS[name](DATA)
    windows = DATA[:24].reshape(4, 6, -1)
    rows = np.asarray(normalizer.normalize(DATA[:24])).reshape(4, 6, -1)
    np.testing.assert_allclose(normalizer.normalize(windows), rows, atol=1e-6)
