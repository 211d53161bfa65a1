"""IQL against references in float64 NumPy."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from handmade import make_dataset, random_episode
from references import float64, mlp

from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import IQL, DataStatistics
from dawm_jax.learners.iql import reward_scale

LEARNER = IQL(steps=8, batch_size=32, hidden=(16, 16), learning_rate=1e-2, polyak_step_size=0.1)
UPDATE = jax.jit(LEARNER.update)
NETWORKS = ("actor", "averaged_actor", "critic", "target_critic", "value")


def statistics(return_range=1000.0):
    """With 1000, rewards keep their scale; observations always do."""
    return DataStatistics(jnp.zeros(3), jnp.ones(3), jnp.float32(return_range), action_dim=2)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def batch(rng):
    episodes = [random_episode(rng, 4, terminated=i % 2 == 0) for i in range(8)]
    return to_transitions(make_dataset(episodes)).replace(
        recorded=jnp.asarray(rng.random(32) < 0.5)
    )


@pytest.fixture
def state(rng):
    """A state whose networks all differ, in the biases too."""
    state = jax.jit(LEARNER.init)(jax.random.key(0), statistics())

    def redraw(leaf):
        return jnp.asarray(0.5 * rng.normal(size=leaf.shape), jnp.float32)

    return state.replace(**{name: jax.tree.map(redraw, getattr(state, name)) for name in NETWORKS})


def value_of(params, observation):
    return mlp(params["params"]["MLP_0"], observation)[:, 0]


def critics_of(params, batch):
    """(2, B)."""
    inputs = np.concatenate([batch.observation, batch.action], axis=1)
    twins = params["params"]["VmapMLP_0"]
    first, second = (jax.tree.map(lambda leaf, i=i: leaf[i], twins) for i in range(2))
    return np.stack([mlp(first, inputs)[:, 0], mlp(second, inputs)[:, 0]])


def log_prob_of(params, batch):
    """Of the batch's actions under a normal of diagonal covariance."""
    mean = np.tanh(mlp(params["params"]["MLP_0"], batch.observation))
    std = np.exp(np.asarray(params["params"]["log_std"], np.float64))
    density = np.exp(-(((batch.action - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
    return np.log(density.prod(1))


@partial(jax.jit, static_argnums=0)
def adam_step(loss_fn, params, *arguments):
    """The loss, and the parameters after the first step of Adam down its gradient."""
    loss, grads = jax.value_and_grad(loss_fn)(params, *arguments)
    adam = optax.adam(LEARNER.learning_rate)
    updates, _ = adam.update(grads, adam.init(params))
    return loss, optax.apply_updates(params, updates)


def test_value_loss_is_an_expectile_regression(rng, state, batch):
    q = rng.normal(size=32)
    error = q - value_of(state.value, float64(batch).observation)
    expected = np.mean(np.abs(0.7 - (error < 0.0)) * error**2)
    loss = LEARNER.value_loss(state.value, batch, jnp.asarray(q, jnp.float32))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_critic_loss_is_the_sum_of_both_mean_squared_errors(rng, state, batch):
    target = rng.normal(size=32)
    q = critics_of(state.critic, float64(batch))
    expected = np.mean((q[0] - target) ** 2) + np.mean((q[1] - target) ** 2)
    loss = LEARNER.critic_loss(state.critic, batch, jnp.asarray(target, jnp.float32))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_actor_loss_weights_the_log_likelihood_by_the_advantage(rng, state, batch):
    advantage = rng.normal(size=32)
    weight = np.minimum(np.exp(3.0 * advantage), 100.0)
    assert (weight == 100.0).any()
    expected = -np.mean(weight * log_prob_of(state.actor, float64(batch)))
    advantage = jnp.asarray(advantage, jnp.float32)
    loss = LEARNER.actor_loss(state.actor, batch, advantage, state.statistics)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_a_huge_advantage_weighs_100(state, batch):
    """Its exponential overflows."""
    loss = LEARNER.actor_loss(state.actor, batch, jnp.full(32, 1e6), state.statistics)
    expected = -100.0 * np.mean(log_prob_of(state.actor, float64(batch)))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_update_learns_the_value_first_and_then_uses_the_new_one(state, batch):
    rows, steps = float64(batch), {}
    q = critics_of(state.target_critic, rows).min(0)
    steps["value"] = adam_step(LEARNER.value_loss, state.value, batch, q)
    value = steps["value"][1]
    advantage = q - value_of(value, rows.observation)
    target = rows.reward + rows.discount * value_of(value, rows.next_observation)
    steps["critic"] = adam_step(LEARNER.critic_loss, state.critic, batch, target)
    steps["actor"] = adam_step(LEARNER.actor_loss, state.actor, batch, advantage, state.statistics)
    updated, metrics = UPDATE(state, batch, jax.random.key(0))
    for name, (loss, params) in steps.items():
        np.testing.assert_allclose(metrics[f"{name}_loss"], loss, rtol=1e-4)
        chex.assert_trees_all_close(getattr(updated, name), params, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("critic_rows", ["all", "recorded"])
def test_rows_that_critics_cannot_judge_weigh_1(state, batch, critic_rows):
    """Of 32 rows the last 20 are synthetic."""
    learner = replace(LEARNER, batch_size=12, critic_rows=critic_rows, advantage_rows="recorded")
    batch = batch.replace(recorded=jnp.arange(32) < 12)
    updated, metrics = jax.jit(learner.update)(state, batch, jax.random.key(0))
    rows = float64(batch)
    q = critics_of(state.target_critic, rows).min(0)
    advantage = np.where(rows.recorded, q - value_of(updated.value, rows.observation), 0.0)
    weight = np.minimum(np.exp(3.0 * advantage), 100.0)
    expected = -np.mean(weight * log_prob_of(state.actor, rows))
    np.testing.assert_allclose(metrics["actor_loss"], expected, rtol=1e-4)
    seen = slice(None) if critic_rows == "all" else slice(12)
    error = (q - value_of(state.value, rows.observation))[seen]
    expected = np.mean(np.abs(0.7 - (error < 0.0)) * error**2)
    np.testing.assert_allclose(metrics["value_loss"], expected, rtol=1e-4)
    recorded_alone = replace(learner, policy_rows="recorded")
    _, metrics = jax.jit(recorded_alone.update)(state, batch, jax.random.key(0))
    expected = -np.mean((weight * log_prob_of(state.actor, rows))[:12])
    np.testing.assert_allclose(metrics["actor_loss"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("average", "network"), [("target_critic", "critic"), ("averaged_actor", "actor")]
)
def test_averages_move_a_polyak_step_to_the_new_networks(state, batch, average, network):
    updated, _ = UPDATE(state, batch, jax.random.key(0))
    new, old = float64(getattr(updated, network)), float64(getattr(state, average))
    expected = jax.tree.map(lambda new, old: 0.1 * new + 0.9 * old, new, old)
    chex.assert_trees_all_close(float64(getattr(updated, average)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("return_range", "scale"), [(4000.0, 0.25), (10.0, 100.0), (0.0, 1.0), (1e-40, 1.0)]
)
def test_rewards_are_scaled_by_1000_over_the_range_of_returns(state, batch, return_range, scale):
    assert reward_scale(statistics(return_range)) == scale
    key = jax.random.key(0)
    _, scaled = UPDATE(state.replace(statistics=statistics(return_range)), batch, key)
    _, by_hand = UPDATE(state, batch.replace(reward=batch.reward * scale), key)
    chex.assert_trees_all_close(scaled, by_hand, rtol=1e-5)


def test_learning_rate_of_the_actor_follows_half_a_cosine_to_zero(batch):
    """Adam moves a parameter of constant gradient by the learning rate."""
    learner = replace(LEARNER, learning_rate=1e-5)
    state, update = learner.init(jax.random.key(0), statistics()), jax.jit(learner.update)
    moved = []
    for step in range(learner.steps + 1):
        updated, _ = update(state, batch, jax.random.key(step))
        log_std = [s.actor["params"]["log_std"] for s in (state, updated)]
        moved.append(np.abs(log_std[1] - log_std[0]).mean() / learner.learning_rate)
        last, state = state, updated
    half_cosine = 0.5 + 0.5 * np.cos(np.pi * np.arange(learner.steps + 1) / learner.steps)
    np.testing.assert_allclose(moved, half_cosine, atol=0.02)
    chex.assert_trees_all_equal(state.actor, last.actor)
    assert not jax.tree.all(jax.tree.map(jnp.array_equal, state.critic, last.critic))
