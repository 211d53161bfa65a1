from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset, random_episode

from dawm_jax.data.dataset import return_to_go
from dawm_jax.data.windows import WindowSet, to_transitions, window_starts

HORIZON = 4
# steps, terminated: every kind of end, before and after longer episodes
ENDS = [
    (9, True),
    (2, True),  # terminal in fewer steps than the horizon
    (1, True),
    (3, False),  # exactly one window fits
    (2, False),  # none fits
    (1, False),
    (3, True),
    (10, False),
]
DISCOUNT, RETURN_SCALE = 0.9, 4.0


@pytest.fixture(scope="module")
def episodes():
    rng = np.random.default_rng(0)
    return [random_episode(rng, steps, terminated) for steps, terminated in ENDS]


@pytest.fixture(scope="module")
def dataset(episodes):
    return make_dataset(episodes, DISCOUNT, RETURN_SCALE)


def naive_starts(ends, horizon, skip=0):
    """(episode, step) of every window, from the rules of `window_starts`."""
    starts = []
    for episode, (steps, terminated) in enumerate(ends):
        for t in range(steps):
            fits = t + horizon - 1 <= steps
            if terminated or (fits and t < steps - skip):
                starts.append((episode, t))
    return starts


def naive_window(episode, t):
    observations, actions, rewards, terminated = episode
    steps = len(rewards)
    window = {name: [] for name in ("observation", "action", "reward", "terminal", "seen", "acted")}
    for k in range(t, t + HORIZON):
        window["observation"].append(observations[min(k, steps)])
        window["action"].append(actions[k] if k < steps else np.zeros_like(actions[0]))
        window["reward"].append(rewards[k] if k < steps else 0.0)
        window["terminal"].append(terminated and k >= steps)
        window["seen"].append(k <= steps)
        window["acted"].append(k < steps)
    to_go = sum(DISCOUNT ** (k - t) * rewards[k] for k in range(t, steps)) / RETURN_SCALE
    return SimpleNamespace(return_to_go=to_go, **window)


@pytest.mark.parametrize("horizon", [2, 3, 4, 8, 12])
@pytest.mark.parametrize("skip", [0, 1, 2, 5, 100])
def test_window_starts_follow_the_rules(horizon, skip):
    lengths, terminated = (np.array(column) for column in zip(*ENDS, strict=True))
    first_row = [sum(steps + 1 for steps, _ in ENDS[:episode]) for episode in range(len(ENDS))]
    expected = [first_row[episode] + t for episode, t in naive_starts(ENDS, horizon, skip)]
    assert window_starts(lengths, terminated, horizon, skip).tolist() == expected


def test_windows_at_every_kind_of_episode_end(episodes, dataset):
    starts = naive_starts(ENDS, HORIZON)
    expected = [naive_window(episodes[episode], t) for episode, t in starts]
    windows = WindowSet.of(dataset, HORIZON)
    assert len(windows.starts) == len(starts)
    window = jax.jit(WindowSet.at)(windows, jnp.arange(len(starts)))

    def column(name):
        return np.array([getattr(each, name) for each in expected])

    np.testing.assert_allclose(window.observation, column("observation"), rtol=1e-6)
    np.testing.assert_allclose(window.action, column("action"), rtol=1e-6)
    np.testing.assert_allclose(window.reward, column("reward"), rtol=1e-6)
    np.testing.assert_array_equal(window.terminal, column("terminal"))
    np.testing.assert_array_equal(window.observation_mask, column("seen"))
    np.testing.assert_array_equal(window.reward_mask, column("acted"))
    context = window.context
    np.testing.assert_allclose(context.observation, column("observation")[:, 0], rtol=1e-6)
    np.testing.assert_allclose(context.action, column("action")[:, 0], rtol=1e-6)
    np.testing.assert_allclose(context.return_to_go, column("return_to_go"), rtol=1e-5, atol=1e-6)


def test_sampled_windows_are_uniform(dataset):
    windows = WindowSet.of(dataset, HORIZON)
    sampled = windows.sample(jax.random.key(0), (4000,)).context.action[:, 0]
    everything = windows.at(jnp.arange(len(windows.starts))).context.action[:, 0]
    counts = np.array([(np.asarray(sampled) == action).sum() for action in everything])
    assert counts.sum() == 4000
    expected = 4000 / len(counts)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_data_without_windows_raise_an_error_with_advice():
    rng = np.random.default_rng(0)
    dataset = make_dataset([random_episode(rng, steps, False) for steps in (5, 6)])
    assert len(WindowSet.of(dataset, 7).starts) == 1
    with pytest.raises(ValueError, match=r"window of 8 states.* 6 steps.*horizon"):
        WindowSet.of(dataset, 8)


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("lengths", [[1], [2], [300], [5, 1, 4, 300, 7, 8, 1, 16]])
def test_return_to_go(discount, lengths):
    episodes = np.random.default_rng(0).normal(size=sum(lengths)).astype(np.float32)
    expected = [
        sum(discount ** (k - t) * float(rewards[k]) for k in range(t, len(rewards)))
        for rewards in np.split(episodes, np.cumsum(lengths)[:-1])
        for t in range(len(rewards))
    ]
    to_go = return_to_go(episodes, np.array(lengths), discount)
    np.testing.assert_allclose(to_go, expected, atol=1e-9)


def test_transitions_are_all_recorded_steps(episodes, dataset):
    transitions = to_transitions(dataset)
    expected = [
        (observations[t], actions[t], rewards[t], observations[t + 1])
        for observations, actions, rewards, _ in episodes
        for t in range(len(rewards))
    ]
    columns = [np.array(column) for column in zip(*expected, strict=True)]
    names = ("observation", "action", "reward", "next_observation")
    for name, column in zip(names, columns, strict=True):
        np.testing.assert_allclose(getattr(transitions, name), column, rtol=1e-6)
    assert transitions.recorded.all()


def test_discount_is_zero_only_before_a_terminal_state(dataset):
    expected = [
        0.0 if terminated and t == steps - 1 else DISCOUNT
        for steps, terminated in ENDS
        for t in range(steps)
    ]
    np.testing.assert_allclose(to_transitions(dataset).discount, expected)


def test_the_next_action_is_the_action_of_the_next_step(episodes, dataset):
    """An episode's last step has none, whether it ends in a terminal state or not."""
    transitions = to_transitions(dataset)
    known = [t + 1 < steps for steps, _ in ENDS for t in range(steps)]
    assert known.count(False) == len(ENDS)
    np.testing.assert_array_equal(transitions.next_action_mask, known)
    expected = [
        actions[t + 1] if t + 1 < len(actions) else np.zeros(2)
        for _, actions, _, _ in episodes
        for t in range(len(actions))
    ]
    np.testing.assert_allclose(transitions.next_action, expected, rtol=1e-6)


@pytest.mark.parametrize("terminated", [True, False])
def test_a_single_step_has_no_next_action(terminated):
    rng = np.random.default_rng(0)
    ends = [(1, terminated), (2, True), (1, terminated)]
    transitions = to_transitions(make_dataset([random_episode(rng, *end) for end in ends]))
    assert transitions.next_action_mask.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(transitions.next_action[1], transitions.action[2])
    np.testing.assert_array_equal(transitions.next_action[jnp.array([0, 2, 3])], 0.0)
