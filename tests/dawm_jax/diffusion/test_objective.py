import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.diffusion.objective import PARAMETERIZATIONS, add_noise


def test_add_noise_by_hand():
    assert add_noise(1.0, 2.0, 0.8, 0.6) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("epsilon", 2.0), ("x0", 1.0), ("v", 1.0), ("velocity", 1.0), ("preconditioned", -1.0)],
)
def test_target_by_hand(name, expected):
    target = PARAMETERIZATIONS[name].target(jnp.float32(1.0), 2.0, 0.8, 0.6)
    assert float(target) == pytest.approx(expected)


LEVELS = {
    "variance preserving": (0.8, 0.6),
    "variance exploding": (1.0, 40.0),
    "flow": (0.3, 0.7),
    "little noise": (1.0, 2e-3),
}


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("level", LEVELS)
def test_clean_data_are_recovered_from_the_target(name, level):
    x0, noise = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    alpha, sigma = map(np.float32, LEVELS[level])
    target, to_x0, _ = PARAMETERIZATIONS[name]
    recovered = to_x0(
        target(x0, noise, alpha, sigma), add_noise(x0, noise, alpha, sigma), alpha, sigma
    )
    np.testing.assert_allclose(recovered, x0, atol=1e-5 * max(1.0, sigma))


@pytest.mark.parametrize("name", ["v", "velocity", "preconditioned"])
def test_clean_data_are_recovered_from_pure_noise(name):
    x0, noise = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    target, to_x0, _ = PARAMETERIZATIONS[name]
    recovered = to_x0(target(x0, noise, 0.0, 1.0), noise, 0.0, 1.0)
    np.testing.assert_allclose(recovered, x0, atol=1e-6)


def test_velocity_is_the_derivative_of_a_flow():
    def position(time):
        return add_noise(0.7, -1.3, 1.0 - time, time)

    slope = (position(0.4 + 1e-6) - position(0.4 - 1e-6)) / 2e-6
    assert PARAMETERIZATIONS["velocity"].target(0.7, -1.3, 0.6, 0.4) == pytest.approx(slope)


@pytest.mark.parametrize("sigma", [1e-4, 0.02, 0.5, 80.0])
def test_preconditioning_matches_karras(sigma):
    """Table 1 of Karras et al. 2022 in float64, with sigma_data 1."""
    x0, noise, prediction = np.random.default_rng(0).normal(size=(3, 50))
    x = x0 + sigma * noise
    skip = 1 / (sigma**2 + 1)
    out = sigma / np.sqrt(sigma**2 + 1)
    target, to_x0, input_scale = PARAMETERIZATIONS["preconditioned"]
    ours = (jnp.float32(array) for array in (x0, noise, prediction, x))
    x0_32, noise_32, prediction_32, x_32 = ours
    one, level = jnp.float32(1.0), jnp.float32(sigma)
    assert float(input_scale(one, level)) == pytest.approx(1 / np.sqrt(sigma**2 + 1), rel=1e-6)
    np.testing.assert_allclose(
        target(x0_32, noise_32, one, level), (x0 - skip * x) / out, atol=1e-5
    )
    estimate = to_x0(prediction_32, x_32, one, level)
    np.testing.assert_allclose(estimate, skip * x + out * prediction, atol=1e-5)


def test_preconditioning_is_v_where_the_variance_is_preserved():
    x0, noise = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    alpha, sigma = np.float32(0.28), np.float32(0.96)
    ours, v = (PARAMETERIZATIONS[name].target for name in ("preconditioned", "v"))
    np.testing.assert_allclose(
        ours(x0, noise, alpha, sigma), -v(x0, noise, alpha, sigma), atol=1e-6
    )
