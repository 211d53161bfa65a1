"""The inverse dynamics model on motion with a known inverse."""

from dataclasses import replace

import chex
import jax
import numpy as np
import pytest
from handmade import make_transitions
from references import float64, mlp, relu, silu

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.training.loop import fit

SMALL = InverseDynamics(hidden=(32, 32), dropout=0.0, learning_rate=3e-3, batch_size=64, steps=600)
CONTROL = np.array([[0.5, 0.0], [0.2, -0.1], [0.0, 0.3]])  # s' = s + CONTROL a


def linear_motion(count, seed=0):
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(count, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    action = rng.uniform(-1.0, 1.0, size=(count, 2))
    following = observation + action @ CONTROL.T
    arrays = (observation, action, np.zeros(count), np.ones(count), following)
    return make_transitions(*arrays)


def test_an_initial_state_has_the_normalizers_of_the_recorded_transitions():
    recorded = linear_motion(200)
    data = TransitionSet(recorded, linear_motion(300, seed=1))
    state, other = (SMALL.init(jax.random.key(seed), data) for seed in (0, 1))
    observation = float64(recorded.observation)
    change = float64(recorded.next_observation) - observation
    for found, expected in ((state.observation, observation), (state.change, change)):
        np.testing.assert_allclose(found.offset, expected.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.scale, expected.std(0), rtol=1e-4)
    chex.assert_trees_all_equal(state.change, other.change)
    assert state.action_dim == 2
    kernels = [one.params["params"]["Dense_0"]["kernel"] for one in (state, other)]
    assert kernels[0].shape == (6, 32)
    assert (kernels[0] != kernels[1]).all()


@pytest.fixture(scope="module")
def trained():
    data = TransitionSet(linear_motion(2000))
    return fit(SMALL, SMALL.init(jax.random.key(0), data), data, jax.random.key(1))


def test_actions_of_unseen_steps_are_recovered(trained):
    unseen = linear_motion(500, seed=1)
    action = SMALL.predict(trained, unseen.observation, unseen.next_observation)
    unexplained = np.var(action - unseen.action, axis=0) / np.var(unseen.action, axis=0)
    assert (unexplained < 0.01).all()


def test_actions_are_clipped_to_the_bounds(trained):
    far = linear_motion(50, seed=2)
    jump = 5.0 * np.sign(far.action) @ CONTROL.T
    action = SMALL.predict(trained, far.observation, far.observation + jump)
    np.testing.assert_array_equal(action, np.sign(far.action))


def test_predictions_do_not_depend_on_the_batch_shape(trained):
    rows = linear_motion(12)
    flat = SMALL.predict(trained, rows.observation, rows.next_observation)
    grid = SMALL.predict(
        trained, rows.observation.reshape(3, 4, 3), rows.next_observation.reshape(3, 4, 3)
    )
    np.testing.assert_allclose(grid.reshape(12, 2), flat, atol=1e-6)


@pytest.mark.parametrize("activation", [relu, silu])
def test_loss_is_the_mean_squared_error_of_an_mlp_on_state_and_scaled_change(activation):
    model = replace(SMALL, activation=activation.__name__)
    transitions, batch = linear_motion(200), linear_motion(32, seed=1)
    state = model.init(jax.random.key(0), TransitionSet(transitions))

    def features(rows):
        observation = float64(rows.observation)
        return np.concatenate([observation, float64(rows.next_observation) - observation], axis=1)

    fitted = features(transitions)
    x = (features(batch) - fitted.mean(0)) / fitted.std(0)
    predicted = mlp(state.params["params"], x, activation)
    expected = np.mean((predicted - float64(batch.action)) ** 2)
    loss = model.loss(state.params, state, batch, jax.random.key(2))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_dropout_acts_in_the_loss_alone():
    model, transitions = InverseDynamics(hidden=(32, 32), dropout=0.5), linear_motion(100)
    state = model.init(jax.random.key(0), TransitionSet(transitions))
    losses = [model.loss(state.params, state, transitions, jax.random.key(i)) for i in range(2)]
    assert losses[0] != losses[1]
    rows = (state, transitions.observation, transitions.next_observation)
    np.testing.assert_array_equal(model.predict(*rows), SMALL.predict(*rows))


def test_the_network_matches_decision_diffuser():
    """Three layers, 1024 wide (Ajay et al. 2022): see its published code."""
    model, transitions = InverseDynamics(hidden=(1024, 1024)), linear_motion(10)
    layers = jax.eval_shape(
        lambda key: model.init(key, TransitionSet(transitions)), jax.random.key(0)
    ).params
    kernels = [layer["kernel"].shape for layer in layers["params"].values()]
    assert kernels == [(6, 1024), (1024, 1024), (1024, 2)]


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match=r"activation 'swish'.*relu, silu"):
        InverseDynamics(activation="swish")
