"""The ensemble on a linear system of known mean and noise, and with outputs set by hand."""

from dataclasses import replace
from functools import cache, partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_motion import NOISE, expected_outcome, linear_motion
from references import float64, mlp, relu, silu

from dawm_jax.errors import UserError
from dawm_jax.models.dynamics import OneStepModel
from dawm_jax.models.ensemble import MARGIN, DynamicsEnsemble
from dawm_jax.training.loop import fit, train

SMALL = DynamicsEnsemble(
    networks=4, elites=2, hidden=(32, 32), learning_rate=3e-3, batch_size=64, steps=800
)


@cache
def initial(model=SMALL, count=200):
    """An untrained state, and its training data."""
    data = model.data(linear_motion(count))
    return model.init(jax.random.key(0), data), data


jitted_sample = jax.jit(SMALL.sample)


@pytest.fixture(scope="module")
def trained():
    state, data = initial(count=4000)
    return fit(SMALL, state, data, jax.random.key(1))


def constant(means, log_stds):
    """A state whose networks predict these means and log deviations (networks, 4), normalized."""
    state, _ = initial()
    params = jax.tree.map(lambda leaf: np.zeros_like(leaf[: len(means)]), state.members.params)
    outputs = np.concatenate([means, log_stds], axis=1).astype(np.float32)
    params["params"]["Dense_2"]["bias"] = outputs
    members = jax.tree.map(lambda leaf: leaf[: len(means)], state.members)
    return state.replace(members=members.replace(params=params))


def fitted(data):
    """Mean and deviation of the observations and outcomes of the training rows."""
    rows = np.asarray(data.rows)
    trained = float64(jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data.transitions))
    outcome = np.column_stack([trained.next_observation - trained.observation, trained.reward])
    return [(x.mean(0), x.std(0)) for x in (trained.observation, outcome)]


@pytest.mark.parametrize(("activation", "layer_norm"), [(silu, False), (relu, True)])
def test_held_out_loss_is_the_likelihood_of_the_scaled_outcome(activation, layer_norm):
    model = replace(SMALL, activation=activation.__name__, layer_norm=layer_norm)
    state, data = initial(model)
    assert ("LayerNorm_1" in state.members.params["params"]) == layer_norm
    (centre, scale), (outcome_centre, outcome_scale) = fitted(data)
    rows = np.asarray(data.held_out)
    assert len(rows) == 40
    held_out = float64(jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data.transitions))
    inputs = np.column_stack([(held_out.observation - centre) / scale, held_out.action])
    outcome = np.column_stack([held_out.next_observation - held_out.observation, held_out.reward])
    true = (outcome - outcome_centre) / outcome_scale
    found = jax.jit(model.held_out_loss)(state)
    assert found.shape == (4,)
    for i in range(4):
        params = jax.tree.map(lambda leaf, i=i: leaf[i], state.members.params["params"])
        mean, log_std = np.split(mlp(params, inputs, activation), 2, axis=1)
        log_std = np.clip(log_std, -5.0, 2.0)
        expected = np.mean(0.5 * ((true - mean) / np.exp(log_std)) ** 2 + log_std)
        np.testing.assert_allclose(found[i], expected, rtol=1e-4)


def test_an_update_equals_updates_of_single_models_on_their_own_batches():
    state, data = initial()
    batch = data.sample(jax.random.key(2), SMALL.batch_shape)
    assert batch.action.shape == (4, 64, 2)
    updated, metrics = jax.jit(SMALL.update)(state, batch, jax.random.key(3))
    single = OneStepModel(
        hidden=(32, 32), learning_rate=3e-3, batch_size=64, steps=800, activation="silu"
    )
    update, losses = jax.jit(single.update), []
    for i in range(4):
        member, rows = jax.tree.map(lambda leaf, i=i: leaf[i], (state.members, batch))
        own, own_metrics = update(member, rows, jax.random.key(3))
        losses.append(own_metrics["loss"])
        for found, expected in zip(
            jax.tree.leaves(updated.members), jax.tree.leaves(own), strict=True
        ):
            np.testing.assert_allclose(found[i], expected, rtol=1e-3, atol=1e-5)
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_elites_are_the_networks_with_the_lowest_held_out_loss():
    """Of networks that predict mean 0, the loss is v / 2 + log std for std 1, and so on."""
    log_stds = np.repeat([[1.0], [0.0], [2.0], [0.4]], 4, axis=1)
    state = constant(np.zeros((4, 4)), log_stds)
    outcome = np.column_stack(
        [state.held_out.next_observation - state.held_out.observation, state.held_out.reward]
    )
    members = state.members.outcome
    true = (float64(outcome) - float64(members.offset[0])) / float64(members.scale[0])
    expected = [np.mean(0.5 * (true / np.exp(s)) ** 2 + s) for s in log_stds[:, 0]]
    np.testing.assert_allclose(jax.jit(SMALL.held_out_loss)(state), expected, rtol=1e-4)
    best = np.argsort(expected)[:2]
    assert best.tolist() == [1, 3]
    elite = jax.jit(SMALL.elite)(state)
    rows = linear_motion(5, seed=1)
    of_all = jax.jit(SMALL.predict)(state, rows.observation, rows.action)
    of_elite = jax.jit(SMALL.predict)(elite, rows.observation, rows.action)
    for found, every in zip(of_elite, of_all, strict=True):
        np.testing.assert_array_equal(found, every[best])


def test_a_linear_system_is_learnt(trained):
    rows = linear_motion(1000, seed=1)
    elite = jax.jit(SMALL.elite)(trained)
    mean, std = jax.jit(SMALL.predict)(elite, rows.observation, rows.action)
    assert mean.shape == std.shape == (2, 1000, 4)
    expected = expected_outcome(rows.observation, rows.action)
    unexplained = ((float64(mean) - expected) ** 2).mean(axis=1) / expected.var(axis=0)
    assert (unexplained < 0.05).all()
    np.testing.assert_allclose(np.mean(std, axis=1), np.tile(NOISE, (2, 1)), rtol=0.2)
    assert len(np.unique(jax.jit(SMALL.held_out_loss)(trained))) == 4


def test_held_out_loss_of_a_trained_network_is_the_entropy(trained):
    scale = float64(trained.members.outcome.scale[0])
    expected = np.mean(np.log(NOISE / scale)) + 0.5
    np.testing.assert_allclose(jax.jit(SMALL.held_out_loss)(trained), expected, atol=0.15)


def test_a_step_is_drawn_from_one_network_at_random():
    """Two networks far apart and narrow: samples are normal around one or the other."""
    means = np.array([[-1.0, 0.5, 0.0, 1.0], [1.0, 0.0, -0.5, -1.0]])
    log_stds = np.log([[0.1, 0.2, 0.1, 0.1], [0.1, 0.1, 0.2, 0.1]])
    state, data = constant(means, log_stds), initial()[1]
    observation, action = jnp.array([0.5, 4.0, 0.01]), jnp.array([0.3, -0.2])
    keys = jax.random.split(jax.random.key(0), 4000)
    sample = jax.jit(jax.vmap(partial(SMALL.sample, state, observation, action)))
    following, reward, deviation = map(np.asarray, sample(keys))
    _, (centre, scale) = fitted(data)
    outcome = np.column_stack([following - np.asarray(observation), reward])
    drawn = (outcome.astype(np.float64) - centre) / scale
    first = drawn[:, 0] < 0.0
    assert abs(first.mean() - 0.5) < 0.03
    for own, mean, log_std in zip((first, ~first), means, log_stds, strict=True):
        np.testing.assert_allclose(drawn[own].mean(axis=0), mean, atol=0.02)
        np.testing.assert_allclose(drawn[own].std(axis=0), np.exp(log_std), rtol=0.08)
        uncorrelated = np.corrcoef(drawn[own].T) - np.eye(4)
        assert np.abs(uncorrelated).max() < 0.1
    norms = np.sqrt(((np.exp(log_stds) * scale) ** 2).sum(axis=1))
    np.testing.assert_allclose(deviation, norms.max(), rtol=1e-5)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_step_stays_within_the_recorded_ranges_and_their_margin(sign):
    state = constant(np.full((4, 4), sign * 1e6), np.zeros((4, 4)))
    _, data = initial()
    rows = np.asarray(data.rows)
    trained = float64(jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data.transitions))
    outcome = np.column_stack([trained.next_observation - trained.observation, trained.reward])
    states = np.concatenate([trained.observation, trained.next_observation])

    def extreme(x):
        margin = MARGIN * (x.max(0) - x.min(0))
        return x.max(0) + margin if sign > 0 else x.min(0) - margin

    middle = jnp.asarray(trained.observation.mean(0), jnp.float32)
    following, reward, _ = jitted_sample(state, middle, jnp.zeros(2), jax.random.key(0))
    moved = np.asarray(middle) + extreme(outcome)[:3]
    expected = np.minimum(sign * moved, sign * extreme(states)) * sign
    np.testing.assert_allclose(following, expected, rtol=1e-4)
    np.testing.assert_allclose(reward, extreme(outcome)[3], rtol=1e-4)
    for _ in range(20):
        following, _, _ = jitted_sample(state, following, jnp.zeros(2), jax.random.key(0))
    np.testing.assert_allclose(following, extreme(states), rtol=1e-4)


def test_resumed_training_gives_the_same_result():
    model = replace(SMALL, steps=20)
    state, data = initial(model)
    whole = fit(model, state, data, jax.random.key(1))
    _, half, _ = next(train(model, state, data, jax.random.key(1), chunk=10))
    again = model.data(data.transitions)
    *_, (_, resumed, _) = train(model, half, again, jax.random.key(1), chunk=10, start=10)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_a_single_transition_suffices():
    model = replace(SMALL, steps=2)
    state, data = initial(model, count=1)
    state = jax.jit(model.elite)(fit(model, state, data, jax.random.key(1)))
    row = jax.tree.map(lambda leaf: leaf[0], data.transitions)
    key = jax.random.key(0)
    following, reward, deviation = jax.jit(model.sample)(state, row.observation, row.action, key)
    np.testing.assert_allclose(following, row.next_observation, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(reward, row.reward, rtol=1e-5)
    assert np.isfinite(deviation)


def test_the_defaults_match_mopo():
    """7 networks, 5 elites, 4 hidden layers of 200 (Yu et al. 2020, appendix)."""
    model, data = DynamicsEnsemble(), SMALL.data(linear_motion(10))
    assert model.elites == 5
    assert model.batch_shape == (7, 256)
    layers = model.init(jax.random.key(0), data).members.params["params"].values()
    kernels = [layer["kernel"].shape for layer in layers]
    widths = [5, 200, 200, 200, 200, 8]
    assert kernels == [(7, *pair) for pair in pairwise(widths)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 3, "elites": 4}, "elites is 4; it must not exceed networks, 3"),
        ({"networks": 0}, "networks is 0"),
        ({"held_out": 0}, "held_out is 0"),
        ({"hidden": (0,)}, "hidden is"),
        ({"activation": "swish"}, r"activation 'swish'.*relu, silu"),
    ],
)
def test_an_invalid_setting_is_named(settings, message):
    with pytest.raises(UserError, match=message):
        DynamicsEnsemble(**settings)
