"""The cloned policy on actions of a known distribution."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_motion import transitions
from references import float64, mlp
from scipy import stats

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.errors import UserError
from dawm_jax.models.behavior import BehaviorPolicy
from dawm_jax.networks.actor_critic import BOUND
from dawm_jax.training.loop import fit

SMALL = BehaviorPolicy(hidden=(32, 32), learning_rate=3e-3, batch_size=128, steps=800)
STD = 0.4


def median(observation):
    """tanh^-1 of the median action in each state."""
    observation = float64(observation)
    return np.stack([0.5 * observation[..., 0], 0.1 * observation[..., 1] - 0.5], axis=-1)


def noisy_actions(count, seed=0):
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(count, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    action = np.tanh(median(observation) + STD * rng.normal(size=(count, 2)))
    return transitions(observation, action, observation)


@pytest.fixture(scope="module")
def trained():
    data = TransitionSet(noisy_actions(4000))
    return fit(SMALL, SMALL.init(jax.random.key(0), data), data, jax.random.key(1))


def test_samples_have_the_recorded_distribution(trained):
    observation = noisy_actions(4, seed=1).observation
    sample = jax.jit(jax.vmap(SMALL.sample, (None, None, 0)))
    action = sample(trained, observation, jax.random.split(jax.random.key(2), 2000))
    assert action.shape == (2000, 4, 2)
    drawn = np.arctanh(float64(action))
    np.testing.assert_allclose(drawn.mean(axis=0), median(observation), atol=0.15)
    np.testing.assert_allclose(drawn.std(axis=0), STD, rtol=0.2)
    assert abs(np.corrcoef(drawn[:, 0].T)[0, 1]) < 0.1


def test_the_key_determines_the_result(trained):
    observation = noisy_actions(4).observation
    one, same, other = (SMALL.sample(trained, observation, jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_unseen_actions_have_the_likelihood_of_the_recorded_policy(trained):
    rows = noisy_actions(4000, seed=1)
    action = float64(rows.action)
    true = stats.norm.logpdf(np.arctanh(action), median(rows.observation), STD)
    expected = -np.mean(np.sum(true - np.log(1.0 - action**2), axis=1))
    assert jax.jit(SMALL.loss)(trained.params, trained, rows) == pytest.approx(expected, abs=0.1)


def test_loss_is_the_likelihood_of_tanh_of_a_normal():
    rows, batch = noisy_actions(200), noisy_actions(32, seed=1)
    state = SMALL.init(jax.random.key(0), TransitionSet(rows))
    observation = float64(rows.observation)
    inputs = (float64(batch.observation) - observation.mean(0)) / observation.std(0)
    layers = state.params["params"]["MLP_0"]
    mean, log_std = np.split(mlp(layers, inputs), 2, axis=1)
    action = float64(batch.action)
    likelihood = stats.norm.logpdf(np.arctanh(action), mean, np.exp(np.clip(log_std, -5.0, 2.0)))
    expected = -np.mean(np.sum(likelihood - np.log(1.0 - action**2), axis=1))
    np.testing.assert_allclose(SMALL.loss(state.params, state, batch), expected, rtol=1e-4)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_actions_at_the_bounds_can_be_learnt(layer_norm):
    model = replace(SMALL, layer_norm=layer_norm, steps=50)
    rows = noisy_actions(100)
    data = TransitionSet(rows.replace(action=jnp.sign(rows.action)))
    state = model.init(jax.random.key(0), data)
    assert ("LayerNorm_1" in state.params["params"]["MLP_0"]) == layer_norm
    before = model.loss(state.params, state, data.recorded)
    state = fit(model, state, data, jax.random.key(1))  # raises if anything is not finite
    assert model.loss(state.params, state, data.recorded) < before
    action = model.sample(state, rows.observation, jax.random.key(2))
    assert np.abs(action).max() <= BOUND


def test_an_invalid_setting_is_named():
    with pytest.raises(UserError, match=r"BehaviorPolicy\.hidden is"):
        BehaviorPolicy(hidden=(0,))
