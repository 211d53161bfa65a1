"""The one-step model on motion of known mean and noise."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_transitions
from references import float64, mlp

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.errors import UserError
from dawm_jax.models.dynamics import OneStepModel
from dawm_jax.training.loop import fit

SMALL = OneStepModel(hidden=(32, 32), learning_rate=3e-3, batch_size=64, steps=800)
DRIFT = np.array([[-0.1, 0.02, 0.0], [1.0, -0.2, 0.0], [0.0, 0.0, -0.3]])
CONTROL = np.array([[0.5, 0.0], [2.0, -1.0], [0.0, 0.03]])
NOISE = np.array([0.2, 1.0, 0.02, 0.4])  # of the three changes of state and the reward


def expected_outcome(observation, action):
    """Change of state and reward of s' = s + DRIFT s + CONTROL a, r = a_0 - s_0."""
    change = observation @ DRIFT.T + action @ CONTROL.T
    return np.column_stack([change, action[:, 0] - observation[:, 0]])


def linear_motion(count, seed=0):
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(count, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    action = rng.uniform(-1.0, 1.0, size=(count, 2))
    outcome = expected_outcome(observation, action) + rng.normal(size=(count, 4)) * NOISE
    arrays = (observation, action, outcome[:, 3], np.ones(count), observation + outcome[:, :3])
    return make_transitions(*arrays)


def outcomes(rows):
    change = float64(rows.next_observation) - float64(rows.observation)
    return np.column_stack([change, float64(rows.reward)])


def test_an_initial_state_has_the_normalizers_of_the_recorded_transitions():
    recorded = linear_motion(200)
    data = TransitionSet(recorded, linear_motion(300, seed=1))
    state, other = (SMALL.init(jax.random.key(seed), data) for seed in (0, 1))
    observation = float64(recorded.observation)
    np.testing.assert_allclose(state.observation.offset, observation.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.observation.scale, observation.std(0), rtol=1e-4)
    outcome = outcomes(recorded)
    np.testing.assert_allclose(state.outcome.offset, outcome.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.outcome.scale, outcome.std(0), rtol=1e-4)
    chex.assert_trees_all_equal(state.outcome, other.outcome)
    kernels = [one.params["params"]["Dense_0"]["kernel"] for one in (state, other)]
    assert kernels[0].shape == (5, 32)
    assert (kernels[0] != kernels[1]).all()


@pytest.fixture(scope="module")
def trained():
    data = TransitionSet(linear_motion(4000))
    return fit(SMALL, SMALL.init(jax.random.key(0), data), data, jax.random.key(1))


def test_the_expected_step_of_a_linear_system_is_learnt(trained):
    unseen = linear_motion(1000, seed=1)
    following, reward = SMALL.step(trained, unseen.observation, unseen.action)
    found = np.column_stack([following - unseen.observation, reward])
    expected = expected_outcome(float64(unseen.observation), float64(unseen.action))
    unexplained = ((found - expected) ** 2).mean(axis=0) / expected.var(axis=0)
    assert (unexplained < 0.03).all()


def test_the_noise_of_a_linear_system_is_learnt(trained):
    """The loss equals that of the true deviations: the entropy without its constant."""
    scale = outcomes(linear_motion(4000)).std(axis=0)
    expected = np.mean(np.log(NOISE / scale)) + 0.5
    loss = SMALL.loss(trained.params, trained, linear_motion(4000, seed=1))
    assert loss == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("shift", [0.0, 20.0, -20.0])  # of log deviations, held in [-5, 2]
def test_loss_is_the_likelihood_of_the_scaled_outcome(shift):
    transitions, batch = linear_motion(200), linear_motion(32, seed=1)
    state = SMALL.init(jax.random.key(0), TransitionSet(transitions))
    last = state.params["params"]["Dense_2"]
    last["bias"] = last["bias"].at[4:].add(shift)
    observation = float64(transitions.observation)
    inputs = (float64(batch.observation) - observation.mean(0)) / observation.std(0)
    inputs = np.column_stack([inputs, float64(batch.action)])
    mean, log_std = np.split(mlp(state.params["params"], inputs), 2, axis=1)
    deviation = np.exp(np.clip(log_std, -5.0, 2.0))
    fitted = outcomes(transitions)
    true = (outcomes(batch) - fitted.mean(0)) / fitted.std(0)
    expected = 0.5 * ((true - mean) / deviation) ** 2 + np.log(deviation)
    loss = SMALL.loss(state.params, state, batch)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-4)


def test_a_rollout_is_one_step_after_another(trained):
    rng = np.random.default_rng(2)
    start = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    actions = jnp.asarray(rng.uniform(-1, 1, size=(5, 6, 2)), jnp.float32)
    states, rewards = SMALL.roll_out(trained, start, actions)
    assert states.shape == (5, 7, 3)
    assert rewards.shape == (5, 6)
    step, observation = jax.jit(SMALL.step), start
    np.testing.assert_array_equal(states[:, 0], start)
    for t in range(6):
        observation, reward = step(trained, observation, actions[:, t])
        np.testing.assert_allclose(states[:, t + 1], observation, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(rewards[:, t], reward, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["learning_rate", "final_learning_rate", "batch_size", "steps"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_an_invalid_setting_is_named(name, value):
    with pytest.raises(UserError, match=f"OneStepModel.{name} is {value}; it must be a"):
        OneStepModel(**{name: value})
