"""ReBRAC against references in NumPy, both in float64."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset, random_episode
from references import float64, mlp, part_of

from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import TD3BC, DataStatistics, ReBRAC

LEARNER = ReBRAC(
    steps=8,
    batch_size=16,
    hidden=(6, 5, 4),
    learning_rate=1e-2,
    polyak_step_size=0.1,
    policy_noise=0.4,
    beta_actor=0.3,
    beta_critic=0.7,
)
NETWORKS = ("actor", "critic", "target_actor", "target_critic")
KEY = jax.random.key(5)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def widened(tree):
    """`tree` with its float32 arrays in float64."""
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, tree
    )


def random_batch(rng):
    """16 rows: of every eight one is terminal, and one the last of a truncated episode."""
    episodes = [random_episode(rng, 4, terminated=i % 2 == 0) for i in range(4)]
    recorded = jnp.asarray(rng.random(16) < 0.5)
    return widened(to_transitions(make_dataset(episodes)).replace(recorded=recorded))


def random_state(rng, learner=LEARNER):
    """A state whose four networks all differ, in the biases too; Adam's moments are zero."""
    mean = jnp.asarray(rng.normal(size=3))
    statistics = DataStatistics(mean, jnp.full(3, 2.0), jnp.ones(()), action_dim=2)
    shapes = jax.eval_shape(learner.init, jax.random.key(0), statistics)
    state = widened(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))

    def draw(leaf):
        return 0.5 * rng.normal(size=leaf.shape)

    networks = {name: jax.tree.map(draw, getattr(state, name)) for name in NETWORKS}
    return state.replace(statistics=statistics, **networks)


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
    assert "LayerNorm_2" in twins
    inputs = np.concatenate([observation, action], axis=1)
    return np.stack([mlp(part_of(twins, i), inputs)[:, 0] for i in range(2)])


def clipped_noise(key, shape):
    draws = 0.4 * np.asarray(jax.random.normal(key, shape))
    assert (np.abs(draws) > 0.5).any()
    return np.clip(draws, -0.5, 0.5)


def reference_target(state, rows, key):
    """r + gamma (min Q(s', a~) - 0.7 ||a~ - a'||^2), the penalty where a' is known."""
    action = policy_of(state.target_actor, rows.next_observation)
    action = np.clip(action + clipped_noise(key, action.shape), -1.0, 1.0)
    value = critics_of(state.target_critic, rows.next_observation, action).min(0)
    penalty = 0.7 * ((action - rows.next_action) ** 2).sum(1)
    value[rows.next_action_mask == 1.0] -= penalty[rows.next_action_mask == 1.0]
    return rows.reward + rows.discount * value


def reference_critic_loss(critic, rows, target):
    return ((critics_of(critic, rows.observation, rows.action) - target) ** 2).mean(1).sum()


def reference_actor_loss(actor, critic, rows, counts, q_scale=None):
    """0.3 ||pi - a||^2 on the `counts` rows less min Q / mean |min Q|."""
    action = policy_of(actor, rows.observation)
    q = critics_of(critic, rows.observation, action).min(0)
    error = ((action - rows.action) ** 2).sum(1)[counts]
    bc = error.mean() if counts.any() else 0.0
    return 0.3 * bc - q.mean() / (q_scale or np.abs(q).mean())


def slopes(loss, params):
    """The gradient of `loss` by central differences."""
    moved = jax.tree.map(np.array, params)

    def slope(leaf):
        gradient = np.empty_like(leaf)
        for index, value in np.ndenumerate(leaf.copy()):
            ends = []
            for end in (value + 1e-6, value - 1e-6):
                leaf[index] = end
                ends.append(loss(moved))
            leaf[index] = value
            gradient[index] = (ends[0] - ends[1]) / 2e-6
        return gradient

    return jax.tree.map(slope, moved)


class Adam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, params):
        self.step = 0
        self.first = self.second = jax.tree.map(np.zeros_like, params)

    def update(self, params, gradient):
        self.step += 1
        self.first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, self.first, gradient)
        self.second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, self.second, gradient)

        def moved(p, m, v):
            m, v = m / (1.0 - 0.9**self.step), v / (1.0 - 0.999**self.step)
            return p - 1e-2 * m / (np.sqrt(v) + 1e-8)

        return jax.tree.map(moved, params, self.first, self.second)


def reference_update(state, batch, key):
    """Two critic updates towards the old targets, one of the policy, then the targets'."""
    mean = state.statistics.observation_mean
    batch = batch.replace(
        observation=(batch.observation - mean) / 2.0,
        next_observation=(batch.next_observation - mean) / 2.0,
    )
    parts = [float64(part_of(batch, i)) for i in range(2)]
    old = {name: float64(getattr(state, name)) for name in NETWORKS}
    critic, adam, critic_losses = old["critic"], Adam(old["critic"]), []
    for rows, noise_key in zip(parts, jax.random.split(key, 2), strict=True):
        target = reference_target(state, rows, noise_key)
        critic_losses.append(reference_critic_loss(critic, rows, target))
        gradient = slopes(lambda c, r=rows, t=target: reference_critic_loss(c, r, t), critic)
        critic = adam.update(critic, gradient)

    rows, counts = parts[1], np.ones(16, bool)
    q = critics_of(critic, rows.observation, policy_of(old["actor"], rows.observation)).min(0)
    scale = np.abs(q).mean()
    actor_loss = reference_actor_loss(old["actor"], critic, rows, counts)
    gradient = slopes(lambda a: reference_actor_loss(a, critic, rows, counts, scale), old["actor"])
    actor = Adam(old["actor"]).update(old["actor"], gradient)

    def polyak(new, old):
        return jax.tree.map(lambda new, old: 0.1 * new + 0.9 * old, new, old)

    networks = {
        "actor": actor,
        "critic": critic,
        "target_actor": polyak(actor, old["target_actor"]),
        "target_critic": polyak(critic, old["target_critic"]),
    }
    return networks, {"actor_loss": actor_loss, "critic_loss": np.mean(critic_losses)}


def test_one_update_is_the_papers(rng, state):
    """Losses, gradients, Adam and targets, of critics with layer norm."""
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), random_batch(rng), random_batch(rng))
    updated, metrics = jax.jit(LEARNER.update)(state, batch, KEY)
    networks, losses = reference_update(state, batch, KEY)
    for name, loss in losses.items():
        np.testing.assert_allclose(metrics[name], loss, rtol=1e-9)
    for name, params in networks.items():
        chex.assert_trees_all_close(getattr(updated, name), params, rtol=0.0, atol=1e-6)


def test_td_target_penalizes_the_distance_to_the_next_action(state, batch):
    known = np.asarray(batch.next_action_mask)
    assert 0 < known.sum() < 16
    target = jax.jit(LEARNER.td_target)(state, batch, KEY)
    np.testing.assert_allclose(target, reference_target(state, float64(batch), KEY), rtol=1e-9)


def test_rows_without_a_next_action_are_not_penalized(state, batch):
    """Terminal rows, whose target is their reward, and the last rows of truncated episodes."""
    target = jax.jit(LEARNER.td_target)
    free = jax.jit(replace(LEARNER, beta_critic=0.0).td_target)(state, batch, KEY)
    terminal = np.asarray(batch.discount) == 0.0
    unknown = ~np.asarray(batch.next_action_mask)
    assert (terminal.sum(), (unknown & ~terminal).sum()) == (2, 2)

    penalized = np.asarray(target(state, batch, KEY))
    np.testing.assert_array_equal(penalized[terminal], batch.reward[terminal])
    np.testing.assert_array_equal(penalized[unknown], free[unknown])
    assert (penalized[~unknown] < free[~unknown]).all()

    moved = target(state, batch.replace(next_action=batch.next_action + 0.5), KEY)
    np.testing.assert_array_equal(penalized == moved, unknown)
    none_known = batch.replace(next_action_mask=jnp.zeros(16, bool))
    np.testing.assert_array_equal(target(state, none_known, KEY), free)


@pytest.mark.parametrize("cloning_rows", ["all", "recorded"])
def test_losses_are_the_papers(rng, state, batch, cloning_rows):
    learner, target = replace(LEARNER, cloning_rows=cloning_rows), rng.normal(size=16)
    rows = float64(batch)
    loss, q = jax.jit(learner.critic_loss)(state.critic, batch, target)
    np.testing.assert_allclose(loss, reference_critic_loss(state.critic, rows, target), rtol=1e-9)
    np.testing.assert_allclose(q, critics_of(state.critic, rows.observation, rows.action))

    actor_loss = jax.jit(learner.actor_loss)
    for recorded_rows in (1, 7, 16):
        batch = batch.replace(recorded=jnp.arange(16) < recorded_rows)
        counts = np.asarray(batch.recorded) if cloning_rows == "recorded" else np.ones(16, bool)
        loss = actor_loss(state.actor, state.critic, batch, state.statistics)
        expected = reference_actor_loss(state.actor, state.critic, rows, counts)
        np.testing.assert_allclose(loss, expected, rtol=1e-9)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_without_the_critics_penalty_it_is_td3_with_a_cloning_term(rng, batch, layer_norm):
    """The target is TD3's and, of equal critics, the policy's loss TD3+BC's over its coefficient.

    TD3+BC averages the square over the action's two dimensions, which ReBRAC sums.
    """
    settings = {"hidden": (6,), "critic_layer_norm": layer_norm, "cloning_rows": "recorded"}
    rebrac = replace(LEARNER, beta_critic=0.0, beta_actor=1.0 / (2 * 2.5), **settings)
    td3bc = TD3BC(bc_coefficient=2.5, policy_noise=0.4, **settings)
    state = random_state(rng, rebrac)
    targets = [jax.jit(learner.td_target)(state, batch, KEY) for learner in (rebrac, td3bc)]
    np.testing.assert_allclose(*targets, rtol=1e-12)

    twins = jax.tree.map(lambda leaf: jnp.stack([leaf[0], leaf[0]]), state.critic)
    arguments = (state.actor, twins, batch, state.statistics)
    losses = [jax.jit(learner.actor_loss)(*arguments) for learner in (rebrac, td3bc)]
    np.testing.assert_allclose(losses[0], losses[1] / 2.5, rtol=1e-12)


def test_defaults_are_the_papers():
    learner = ReBRAC()
    assert (learner.hidden, learner.batch_size, learner.learning_rate) == ((256,) * 3, 1024, 1e-3)
    assert (learner.beta_actor, learner.beta_critic, learner.critic_layer_norm) == (
        0.01,
        0.01,
        True,
    )
    assert (learner.policy_delay, learner.polyak_step_size) == (2, 0.005)
    assert (learner.policy_noise, learner.noise_clip) == (0.2, 0.5)
