from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset, random_episode

from dawm_jax.data.normalizer import NORMALIZERS
from dawm_jax.data.windows import WindowSet
from dawm_jax.errors import UserError
from dawm_jax.models import window_codec
from dawm_jax.models.window_codec import DIFFUSED, GIVEN, check_groups
from dawm_jax.types import Context

HORIZON = 4
ALLOWED = [
    ("absolute", "standard"),
    ("absolute", "minmax"),
    ("absolute", "quantile"),
    ("displacement", "standard"),
    ("displacement", "minmax"),
    ("increment", "standard"),
    ("increment", "minmax"),
]
DIM = 3
fit_codec = partial(window_codec.fit_codec, diffused=(*DIFFUSED, "terminal"))


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(0)
    ends = [(30, True), (2, True), (40, False), (1, True), (3, False), (25, True)]
    return WindowSet.of(make_dataset([random_episode(rng, *end) for end in ends]), HORIZON)


@pytest.fixture(scope="module")
def window(windows):
    """All the windows."""
    return windows.at(jnp.arange(len(windows.starts)))


@pytest.fixture(scope="module", params=ALLOWED, ids="-".join)
def codec(request, windows):
    return fit_codec(windows, *request.param, "minmax")


@pytest.mark.parametrize("reward_normalizer", ["standard", "minmax", "quantile"])
@pytest.mark.parametrize(("target", "normalizer"), ALLOWED)
def test_decode_inverts_encode_where_the_mask_is_true(
    windows, window, target, normalizer, reward_normalizer
):
    codec = fit_codec(windows, target, normalizer, reward_normalizer)
    x0, _ = codec.encode(window)
    rollout = codec.decode(x0, window.context)
    difference = np.abs(rollout.observation - window.observation)
    assert difference[window.observation_mask].max() < 1e-3
    assert np.abs(rollout.reward - window.reward)[window.reward_mask].max() < 1e-3
    np.testing.assert_array_equal(rollout.terminal, window.terminal)
    np.testing.assert_array_equal(rollout.observation[:, 0], window.context.observation)


def test_a_generated_first_state_is_never_terminal(codec, window):
    x0 = codec.encode(window)[0].at[..., -1].set(1.0)
    terminal = codec.decode(x0, window.context).terminal
    assert not terminal[:, 0].any()
    assert terminal[:, 1:].all()


def test_mask_by_hand(windows):
    codec = fit_codec(windows, "absolute", "standard", "standard")
    # The second episode has two steps: its first window ends in a terminal state and its repeats.
    start = int(np.flatnonzero(np.asarray(windows.starts) == 31)[0])
    x0, mask = codec.encode(windows.at(jnp.array([start])))
    states, rewards, terminals = [False, True, True, False], [True, True, False, False], [True] * 4
    np.testing.assert_array_equal(mask[0].T, [*[states] * DIM, rewards, terminals])
    np.testing.assert_array_equal(x0[0, :, -1], [-1, -1, 1, 1])


def test_a_truncated_window_counts_its_last_state_but_no_reward_there(windows):
    codec = fit_codec(windows, "displacement", "standard", "standard")
    # The third episode's 40 steps start after 31 + 3 rows: its last window starts at its step 37.
    start = int(np.flatnonzero(np.asarray(windows.starts) == 31 + 3 + 37)[0])
    x0, mask = codec.encode(windows.at(jnp.array([start])))
    np.testing.assert_array_equal(mask[0, :, 0], [False, True, True, True])
    np.testing.assert_array_equal(mask[0, :, DIM], [True, True, True, False])
    np.testing.assert_array_equal(x0[0, :, -1], [-1] * 4)


@pytest.mark.parametrize("target", ["absolute", "displacement", "increment"])
def test_standard_channels_against_numpy(windows, window, target):
    codec = fit_codec(windows, target, "standard", "standard")
    states = np.asarray(window.observation, np.float64)
    mask = np.asarray(window.observation_mask)
    if target == "absolute":
        expected = (states - states[mask].mean(0)) / states[mask].std(0)
    elif target == "displacement":
        change = states - states[:, :1]
        deviation = change.std(0)
        deviation[0] = 1.0
        expected = (change - change.mean(0)) / deviation
    else:
        change = np.diff(states, axis=1, prepend=states[:, :1])
        later = change[:, 1:][mask[:, 1:]]
        expected = (change - later.mean(0)) / later.std(0)
    rewards = np.asarray(window.reward, np.float64)
    recorded = rewards[np.asarray(window.reward_mask)]
    x0, _ = codec.encode(window)
    np.testing.assert_allclose(x0[..., :DIM], expected, atol=1e-5)
    expected_reward = (rewards - recorded.mean()) / recorded.std()
    np.testing.assert_allclose(x0[..., DIM], expected_reward, atol=1e-5)


def test_pin_sets_the_known_state_and_nothing_else(codec, window):
    x0, _ = codec.encode(window)
    x = jax.random.normal(jax.random.key(0), x0.shape)
    pinned = codec.pin(x, window.context)
    np.testing.assert_allclose(pinned[:, 0, :DIM], x0[:, 0, :DIM], atol=1e-6)
    kept = np.ones(x0.shape, bool)
    kept[:, 0, :DIM] = False
    np.testing.assert_array_equal(np.asarray(pinned)[kept], np.asarray(x)[kept])


def test_network_input_has_the_state_beside_changes(codec, window):
    x0, _ = codec.encode(window)
    inputs = codec.network_input(x0, window.context)
    np.testing.assert_array_equal(inputs[..., : x0.shape[-1]], x0)
    assert inputs.shape[-1] == DIM + 2 + (DIM if codec.observation_target != "absolute" else 0)
    if codec.observation_target != "absolute":
        restored = codec.state.unnormalize(inputs[..., x0.shape[-1] :])
        expected = np.broadcast_to(window.context.observation[:, None], restored.shape)
        np.testing.assert_allclose(restored, expected, atol=1e-5)


def test_clip_bounds_rewards_and_terminals(codec, window):
    x0 = 1e6 * jnp.ones((1, HORIZON, DIM + 2))
    low, high = codec.clip(-x0), codec.clip(x0)
    np.testing.assert_array_equal((low[0, :, -1], high[0, :, -1]), ([-1] * HORIZON, [1] * HORIZON))
    context = jax.tree.map(lambda leaf: leaf[:1], window.context)
    rewards = np.asarray(window.reward)[np.asarray(window.reward_mask)]
    np.testing.assert_allclose(codec.decode(low, context).reward, rewards.min(), rtol=1e-5)
    np.testing.assert_allclose(codec.decode(high, context).reward, rewards.max(), rtol=1e-5)


@pytest.fixture(scope="module")
def falls():
    """Windows of episodes whose terminal state lies far below all previous states."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(20):
        observations, actions, rewards, _ = random_episode(rng, 6, True, observation_dim=1)
        observations[-1] = -10.0 - rng.uniform()
        episodes.append((observations, actions, rewards, True))
    windows = WindowSet.of(make_dataset(episodes), HORIZON)
    return windows, windows.at(jnp.arange(len(windows.starts)))


@pytest.mark.parametrize(("target", "normalizer"), ALLOWED)
def test_clip_lets_a_terminal_state_be_generated(falls, target, normalizer):
    windows, window = falls
    codec = fit_codec(windows, target, normalizer, "minmax")
    rollout = codec.decode(codec.clip(codec.encode(window)[0]), window.context)
    difference = np.abs(rollout.observation - window.observation)
    assert difference[np.asarray(window.observation_mask)].max() < 0.01


def test_displacements_are_clipped_to_their_range_at_each_step(windows, window):
    codec = fit_codec(windows, "displacement", "standard", "standard")
    change = np.asarray(window.observation - window.observation[:, :1])
    origin = Context(jnp.zeros((1, DIM)), jnp.zeros((1, 2)), jnp.zeros(1))
    for sign, bound in ((1.0, change.max(0)), (-1.0, change.min(0))):
        clipped = codec.clip(jnp.full((1, HORIZON, DIM + 2), sign * 1e6))
        np.testing.assert_allclose(codec.decode(clipped, origin).observation[0], bound, atol=1e-5)


def test_increments_are_clipped_to_their_range(windows, window):
    codec = fit_codec(windows, "increment", "standard", "standard")
    increments = np.diff(window.observation, axis=1)[np.asarray(window.observation_mask)[:, 1:]]
    origin = Context(jnp.zeros((1, DIM)), jnp.zeros((1, 2)), jnp.zeros(1))
    for sign, bound in ((1.0, increments.max(0)), (-1.0, increments.min(0))):
        clipped = codec.clip(jnp.full((1, HORIZON, DIM + 2), sign * 1e6))
        expected = np.arange(HORIZON)[:, None] * bound
        np.testing.assert_allclose(
            codec.decode(clipped, origin).observation[0], expected, rtol=1e-5
        )


def test_statistics_come_from_a_subset_of_many_windows(windows, window, monkeypatch):
    monkeypatch.setattr(window_codec, "FIT_WINDOWS", 40)
    codec = fit_codec(windows, "absolute", "standard", "standard")
    states = np.asarray(window.context.observation)
    error = np.abs(np.asarray(codec.state.offset) - states.mean(0))
    assert (error > 1e-4).any()
    assert (error < 4 * states.std(0) / np.sqrt(40)).all()


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize(("target", "normalizer"), ALLOWED)
def test_fitting_in_blocks_of_features_gives_the_same(
    windows, monkeypatch, target, normalizer, features
):
    whole = fit_codec(windows, target, normalizer, "quantile")
    most = features * len(windows.starts) * HORIZON
    monkeypatch.setattr(window_codec, "FIT_NUMBERS", most + 1)
    fit, sizes = NORMALIZERS[normalizer], []
    monkeypatch.setitem(NORMALIZERS, normalizer, lambda data: sizes.append(data.size) or fit(data))
    parts = fit_codec(windows, target, normalizer, "quantile")
    assert max(sizes) <= most
    chex.assert_trees_all_close(parts, whole, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal_shapes_and_dtypes(parts, whole)


ALL = ("observation", "action", "reward", "terminal")
JOINT = {"diffused": ALL}
PLAN = {"diffused": ALL, "given": ("observation",)}  # Diffuser's (Janner et al. 2022)
DECISION_DIFFUSER = {"diffused": ("observation",), "given": ("observation",)}


def grouped(windows, **groups):
    return fit_codec(windows, "increment", "standard", "standard", **groups)


def test_channels_of_the_diffused_groups_have_a_fixed_order(windows):
    parts = {"observation": (0, 3), "reward": (3, 4), "terminal": (4, 5)}
    joint = {"observation": (0, 3), "action": (3, 5), "reward": (5, 6), "terminal": (6, 7)}
    for groups, expected in (
        ({}, parts),
        (JOINT, joint),
        ({"diffused": ALL[::-1]}, joint),
        (DECISION_DIFFUSER, {"observation": (0, 3)}),
    ):
        codec = grouped(windows, **groups)
        assert codec.channels == {name: slice(*edges) for name, edges in expected.items()}
        assert codec.width == max(stop for _, stop in expected.values())


@pytest.mark.parametrize("groups", [JOINT, PLAN])
def test_diffused_actions_are_channels_as_recorded(windows, window, groups):
    codec = grouped(windows, **groups)
    x0, mask = codec.encode(window)
    np.testing.assert_array_equal(x0[..., 3:5], window.action)
    counts = np.array(window.reward_mask)  # where an action was recorded
    if groups is JOINT:
        counts[:, 0] = False
    np.testing.assert_array_equal(mask[..., 3:5], np.stack([counts, counts], axis=-1))
    without, mask_without = grouped(windows).encode(window)
    others = [0, 1, 2, 5, 6]
    np.testing.assert_array_equal(x0[..., others], without)
    np.testing.assert_array_equal(mask[..., others], mask_without)
    decoded = codec.decode(x0, window.context)
    np.testing.assert_array_equal(decoded.action, window.action)


def test_a_given_action_is_pinned_where_it_is_diffused_and_embedded_where_it_is_not(
    windows, window
):
    for groups, pins, embeds in (
        ({}, False, True),
        (JOINT, True, False),
        (PLAN, False, False),
        (DECISION_DIFFUSER, False, False),
    ):
        codec = grouped(windows, **groups)
        x = jnp.full((len(window.reward), HORIZON, codec.width), 7.0)
        changed = np.asarray(codec.pin(x, window.context)) != 7.0
        expected = np.zeros(x.shape, bool)
        expected[:, 0, :3] = True
        if pins:
            expected[:, 0, 3:5] = True
            action = codec.pin(x, window.context)[:, 0, 3:5]
            np.testing.assert_array_equal(action, window.context.action)
        np.testing.assert_array_equal(changed, expected)
        seen = window.context.action if embeds else np.zeros_like(window.context.action)
        np.testing.assert_array_equal(codec.embedded_action(window.context), seen)


def test_a_decoded_window_has_the_given_context_and_no_absent_groups(windows, window):
    def decoded(**groups):
        codec = grouped(windows, **groups)
        x0 = codec.clip(jnp.full((len(window.reward), HORIZON, codec.width), 1e6))
        return codec.decode(x0, window.context)

    assert decoded().action is None
    joint = np.asarray(decoded(**JOINT).action)
    np.testing.assert_array_equal(joint[:, 0], window.context.action)
    np.testing.assert_array_equal(joint[:, 1:], np.ones_like(joint[:, 1:]))
    np.testing.assert_array_equal(decoded(**PLAN).action, np.ones_like(joint))
    states = decoded(**DECISION_DIFFUSER)
    assert states.reward is None
    assert states.action.shape == (len(joint), 0, 2)
    assert not states.terminal.any()
    np.testing.assert_array_equal(states.observation, decoded().observation)
    np.testing.assert_array_equal(states.observation[:, 0], window.context.observation)


@pytest.mark.parametrize(
    ("diffused", "given", "message"),
    [
        (("observation", "rewards"), GIVEN, "unknown group in diffused 'rewards'.*mean 'reward'"),
        (DIFFUSED, ("observation", "reward"), "unknown group in given 'reward'.*action, obs"),
        (("reward", "terminal"), GIVEN, "diffused is .* must contain 'observation'"),
        (DIFFUSED, ("action",), "given is .* must contain 'observation'"),
        (("observation", "observation"), GIVEN, "no group twice"),
    ],
)
def test_invalid_groups_are_rejected(diffused, given, message):
    with pytest.raises(UserError, match=message):
        check_groups(diffused, given)
