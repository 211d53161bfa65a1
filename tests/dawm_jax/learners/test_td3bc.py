"""TD3+BC against references in float64 NumPy."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from handmade import make_dataset, random_episode
from references import float64, mlp, part_of

from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import TD3BC, DataStatistics

LEARNER = TD3BC(steps=8, batch_size=32, hidden=(16, 16), learning_rate=1e-2, polyak_step_size=0.1)
UPDATE = jax.jit(LEARNER.update)
NETWORKS = ("actor", "critic", "target_actor", "target_critic")


def random_batch(rng, size=32):
    """Rows of which every eighth is terminal and about half are recorded."""
    episodes = [random_episode(rng, 4, terminated=i % 2 == 0) for i in range(size // 4)]
    return to_transitions(make_dataset(episodes)).replace(
        recorded=jnp.asarray(rng.random(size) < 0.5)
    )


def random_state(rng):
    """A state whose four networks all differ, in the biases too."""
    statistics = DataStatistics(
        jnp.asarray(rng.normal(size=3), jnp.float32), jnp.full(3, 2.0), jnp.float32(1.0), 2
    )
    state = jax.jit(LEARNER.init)(jax.random.key(0), statistics)

    def redraw(leaf):
        return jnp.asarray(0.5 * rng.normal(size=leaf.shape), jnp.float32)

    return state.replace(**{name: jax.tree.map(redraw, getattr(state, name)) for name in NETWORKS})


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def state(rng):
    return random_state(rng)


@pytest.fixture
def batch(rng):
    return random_batch(rng)


def policy_of(params, observation):
    return np.tanh(mlp(float64(params)["params"]["MLP_0"], observation))


def critics_of(params, observation, action):
    """(2, B)."""
    twins = float64(params)["params"]["VmapMLP_0"]
    inputs = np.concatenate([observation, action], axis=1)
    return np.stack([mlp(part_of(twins, i), inputs)[:, 0] for i in range(2)])


ROWS = ["all", "recorded", "better"]


def imitated(cloning_rows, state, batch):
    """The rows of the cloning term."""
    rows, recorded = float64(batch), np.asarray(batch.recorded)
    if cloning_rows == "better":
        action = policy_of(state.actor, rows.observation)
        own, theirs = (
            critics_of(state.critic, rows.observation, a)[0] for a in (action, rows.action)
        )
        assert 0 < (theirs > own)[~recorded].sum() < 32 or recorded.all()
        return recorded | (theirs > own)
    return recorded if cloning_rows == "recorded" else np.ones(len(recorded), bool)


def reference_actor_loss(actor, critic, batch, rows, q_scale=None):
    """-lambda mean Q + mean (pi - a)^2 of the `rows`, lambda = 2.5 / mean |Q|."""
    batch = float64(batch)
    action = policy_of(actor, batch.observation)
    q = critics_of(critic, batch.observation, action)[0]
    error = ((action - batch.action) ** 2).mean(1)[rows]
    return error.mean() - 2.5 / (q_scale or np.abs(q).mean()) * q.mean()


@partial(jax.jit, static_argnums=0)
def reference_update(learner, state, batch, key):
    """Two critic updates towards the old targets, then one of the policy with the new critic."""
    batch = batch.replace(
        observation=(batch.observation - state.statistics.observation_mean) / 2.0,
        next_observation=(batch.next_observation - state.statistics.observation_mean) / 2.0,
    )
    parts = [part_of(batch, i) for i in range(2)]
    adam = optax.adam(learner.learning_rate)
    critic, opt_state = state.critic, adam.init(state.critic)
    for part, noise_key in zip(parts, jax.random.split(key, 2), strict=True):
        target = learner.td_target(state, part, noise_key)
        grads, _ = jax.grad(learner.critic_loss, has_aux=True)(critic, part, target)
        updates, opt_state = adam.update(grads, opt_state)
        critic = optax.apply_updates(critic, updates)
    grads = jax.grad(learner.actor_loss)(state.actor, critic, parts[1], state.statistics)
    updates, _ = adam.update(grads, adam.init(state.actor))
    return optax.apply_updates(state.actor, updates), critic


def test_td_target_is_clipped_double_q_at_a_smoothed_action(state, batch):
    learner, key = replace(LEARNER, policy_noise=0.4, noise_clip=0.5), jax.random.key(3)
    draws = np.asarray(jax.random.normal(key, batch.action.shape), np.float64)
    noise = np.clip(0.4 * draws, -0.5, 0.5)
    rows = float64(batch)
    noised = policy_of(state.target_actor, rows.next_observation) + noise
    assert (np.abs(0.4 * draws) > 0.5).any()
    assert (np.abs(noised) > 1.0).any()
    next_q = critics_of(state.target_critic, rows.next_observation, np.clip(noised, -1.0, 1.0))
    expected = rows.reward + rows.discount * next_q.min(0)
    np.testing.assert_allclose(learner.td_target(state, batch, key), expected, rtol=1e-4, atol=1e-5)


def test_a_terminal_rows_target_is_its_reward(state, batch):
    target = LEARNER.td_target(state, batch, jax.random.key(0))
    terminal = np.asarray(batch.discount) == 0.0
    assert terminal.sum() == 4
    np.testing.assert_array_equal(target[terminal], batch.reward[terminal])
    assert (target[~terminal] != batch.reward[~terminal]).all()


def test_critic_loss_is_the_sum_of_both_mean_squared_errors(rng, state, batch):
    target = rng.normal(size=32)
    q = critics_of(state.critic, *float64((batch.observation, batch.action)))
    expected = np.mean((q[0] - target) ** 2) + np.mean((q[1] - target) ** 2)
    loss, values = LEARNER.critic_loss(state.critic, batch, jnp.asarray(target, jnp.float32))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(values, q, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cloning_rows", ROWS)
@pytest.mark.parametrize("recorded_rows", [1, 11, 32])
def test_actor_loss_is_the_papers(state, batch, cloning_rows, recorded_rows):
    batch = batch.replace(recorded=jnp.arange(32) < recorded_rows)
    rows = imitated(cloning_rows, state, batch)
    learner = replace(LEARNER, cloning_rows=cloning_rows)
    loss = learner.actor_loss(state.actor, state.critic, batch, state.statistics)
    expected = reference_actor_loss(state.actor, state.critic, batch, rows)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("cloning_rows", ROWS)
def test_actor_gradient_takes_the_normalizer_of_q_as_constant(rng, state, batch, cloning_rows):
    rows = imitated(cloning_rows, state, batch)
    observation = np.asarray(batch.observation, np.float64)
    action = policy_of(state.actor, observation)
    q_scale = np.abs(critics_of(state.critic, observation, action)[0]).mean()
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), state.actor)

    def loss_at(step):
        moved = jax.tree.map(lambda p, d: np.float64(p) + step * d, state.actor, direction)
        return reference_actor_loss(moved, state.critic, batch, rows, q_scale)

    learner = replace(LEARNER, cloning_rows=cloning_rows)
    gradient = jax.jit(jax.grad(learner.actor_loss))
    grads = gradient(state.actor, state.critic, batch, state.statistics)
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), grads, direction)))
    np.testing.assert_allclose(slope, (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6, rtol=1e-3)


@pytest.fixture
def double_batch(rng):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), random_batch(rng), random_batch(rng))


def test_one_update_is_two_of_the_critic_and_a_delayed_one_of_the_policy(state, double_batch):
    key = jax.random.key(5)
    updated, _ = UPDATE(state, double_batch, key)
    expected = reference_update(LEARNER, state, double_batch, key)
    chex.assert_trees_all_close((updated.actor, updated.critic), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("network", ["actor", "critic"])
def test_targets_move_a_polyak_step_to_the_new_networks(state, double_batch, network):
    updated, _ = UPDATE(state, double_batch, jax.random.key(5))
    new, old = float64(getattr(updated, network)), float64(getattr(state, f"target_{network}"))
    expected = jax.tree.map(lambda new, old: 0.1 * new + 0.9 * old, new, old)
    chex.assert_trees_all_close(float64(getattr(updated, f"target_{network}")), expected, atol=1e-6)
