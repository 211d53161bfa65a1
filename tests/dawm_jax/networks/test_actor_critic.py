import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import mlp
from scipy import stats

from dawm_jax.networks.actor_critic import (
    BOUND,
    LOG_STD_RANGE,
    SquashedGaussianPolicy,
    TwinCritic,
    Value,
    squashed_log_probability,
    squashed_sample,
)

KEY = jax.random.key(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def randomized(params, rng):
    """Random parameters of the same shapes, without special values such as zero biases."""
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)


def test_value_with_layer_norm(rng):
    observation = rng.normal(size=(5, 3)).astype(np.float32)
    network = Value((8, 6), layer_norm=True)
    params = randomized(jax.jit(network.init)(KEY, observation), rng)
    value = jax.jit(network.apply)(params, observation)
    layers = params["params"]["MLP_0"]
    assert {"LayerNorm_0", "LayerNorm_1"} <= layers.keys()
    expected = mlp(layers, observation)[:, 0]
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_twin_critic_with_layer_norm(rng):
    observation, action = (rng.normal(size=(5, n)).astype(np.float32) for n in (3, 2))
    network = TwinCritic((8, 6), count=3, layer_norm=True)
    params = randomized(jax.jit(network.init)(KEY, observation, action), rng)
    values = jax.jit(network.apply)(params, observation, action)
    (layers,) = params["params"].values()
    inputs = np.concatenate([observation, action], axis=1)
    for i in range(3):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], layers)
        assert {"LayerNorm_0", "LayerNorm_1"} <= own.keys()
        expected = mlp(own, inputs)[:, 0]
        np.testing.assert_allclose(values[i], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_squashed_policy_depends_on_the_observation_within_its_range(rng, layer_norm):
    observation = rng.normal(size=(200, 3)).astype(np.float32)
    network = SquashedGaussianPolicy((32, 32), action_dim=2, layer_norm=layer_norm)
    params = jax.jit(network.init)(KEY, observation)
    assert ("LayerNorm_0" in params["params"]["MLP_0"]) == layer_norm
    wide = jax.tree.map(lambda leaf: 4.0 * leaf, params)
    mean, log_std = jax.jit(network.apply)(wide, observation)
    assert mean.shape == log_std.shape == (200, 2)
    assert len(np.unique(mean)) == 400
    assert len(np.unique(log_std)) > 20
    assert (log_std.min(), log_std.max()) == LOG_STD_RANGE
    assert np.abs(mean).max() > 5.0  # not clipped


def expected_log_probability(mean, log_std, action):
    """By the change of variables, in float64."""
    mean, log_std, action = map(np.float64, (mean, log_std, action))
    log_normal = stats.norm.logpdf(np.arctanh(action), mean, np.exp(log_std))
    return (log_normal - np.log(1.0 - action**2)).sum(-1)


def test_log_probability_is_the_change_of_variables(rng):
    mean, log_std = rng.normal(size=(2, 200, 3)).astype(np.float32)
    action = np.tanh(1.5 * rng.normal(size=(200, 3))).astype(np.float32)
    found = squashed_log_probability(mean, log_std, action)
    assert found.shape == (200,)
    expected = expected_log_probability(mean, log_std, action)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_log_probability_of_many_actions_in_a_compiled_program(rng):
    """Sums over this many numbers are compiled differently."""
    mean, log_std = rng.normal(size=(2, 20_000, 2)).astype(np.float32)
    action = np.tanh(1.5 * rng.normal(size=(20_000, 2))).astype(np.float32)
    action = np.clip(action, -np.float32(BOUND), np.float32(BOUND))
    found = jax.jit(squashed_log_probability)(mean, log_std, action)
    expected = expected_log_probability(mean, log_std, action)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_log_probability_at_the_bounds_is_that_of_the_clipped_action():
    """Finite, with finite gradients, and to float32 precision."""
    mean, log_std = np.float32([[0.5], [-1.0]]), np.float32([[-0.5], [1.0]])
    action = np.float32([[1.0], [-1.0]])
    clipped = action * np.float32(BOUND)
    found = squashed_log_probability(mean, log_std, action)
    np.testing.assert_allclose(found, expected_log_probability(mean, log_std, clipped), rtol=1e-5)

    def total(mean, log_std):
        return squashed_log_probability(mean, log_std, action).sum()

    slopes = jax.grad(total, (0, 1))(mean, log_std)
    z = (np.arctanh(np.float64(clipped)) - mean) / np.exp(log_std)
    np.testing.assert_allclose(slopes[0], z / np.exp(log_std), rtol=1e-5)
    np.testing.assert_allclose(slopes[1], z**2 - 1.0, rtol=1e-5)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (1.0, -1.5), (-0.5, 0.5)])
def test_density_integrates_to_one(mean, log_std):
    edges = np.linspace(-1.0, 1.0, 200_001)
    action = (0.5 * (edges[1:] + edges[:-1])).astype(np.float32)[:, None]
    density = np.exp(squashed_log_probability(jnp.array([[mean]]), jnp.array([[log_std]]), action))
    assert np.mean(density, dtype=np.float64) * 2.0 == pytest.approx(1.0, abs=1e-3)


def test_samples_have_the_density():
    """Kolmogorov-Smirnov on tanh^-1 of the samples; it fails for one key in 1,000."""
    mean, log_std = jnp.full((20_000, 1), 0.4), jnp.full((20_000, 1), -0.7)
    action = squashed_sample(mean, log_std, KEY)
    u = np.arctanh(np.float64(action[:, 0]))
    assert stats.kstest(u, stats.norm(0.4, np.exp(-0.7)).cdf).pvalue > 1e-3


def test_samples_are_inside_the_bounds_and_independent():
    mean, log_std = jnp.full((1000, 2), 20.0), jnp.full((1000, 2), 1.0)
    sign = jnp.array([1.0, -1.0])
    action = squashed_sample(mean * sign, log_std, KEY)
    assert (np.abs(action) < 1.0).all()
    assert np.isfinite(squashed_log_probability(mean * sign, log_std, action)).all()
    action = squashed_sample(0.0 * mean, log_std, KEY)
    assert abs(np.corrcoef(action.T)[0, 1]) < 0.15
    np.testing.assert_array_equal(action, squashed_sample(0.0 * mean, log_std, KEY))
    assert (action != squashed_sample(0.0 * mean, log_std, jax.random.key(1))).all()
