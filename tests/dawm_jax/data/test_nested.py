"""Data sets of nested spaces: parts in order, goals, formats, and broken parts."""

import chex
import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Tuple, flatten
from handmade import make_dataset, random_episode
from stored import STATES, buffer, write

from dawm_jax.data import column_cache
from dawm_jax.data.formats.minari import load
from dawm_jax.errors import DatasetError, UserError

GOAL = Box(-np.inf, np.inf, (2,), np.float64)
MAZE = Dict({"observation": STATES, "achieved_goal": GOAL, "desired_goal": GOAL})  # sorted
ARM = Tuple((Box(-2.0, 2.0, (1,)), Dict(wrist=Box(-1.0, 1.0, (1,)))))


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def maze(achieved=None, ends=((4, True), (6, False))):
    """Episodes and their observations as a goal-conditioned environment has them."""
    rng, recorded = np.random.default_rng(0), []
    for steps, terminated in ends:
        states, *rest = random_episode(rng, steps, terminated)
        goals = np.tile(rng.normal(size=2), (steps + 1, 1))
        reached = states[:, :2] if achieved is None else achieved(steps + 1, rng)
        value = {"observation": states, "achieved_goal": reached, "desired_goal": goals}
        recorded.append(((states, *rest[:2], rest[2]), value))
    return recorded


def write_maze(name="maze-v0", recorded=None, **settings):
    recorded = recorded or maze()
    buffers = [buffer(episode, observations=value) for episode, value in recorded]
    write(name, buffers, observation_space=MAZE, **settings)
    return recorded


def test_the_desired_goal_joins_the_observation():
    recorded = write_maze()
    dataset = load("maze-v0", discount=0.9)
    rows = [
        (np.concatenate([value["desired_goal"], value["observation"]], axis=1), *episode[1:])
        for episode, value in recorded
    ]
    expected = make_dataset(rows, discount=0.9)
    chex.assert_trees_all_close(dataset.episodes, expected.episodes, rtol=1e-5, atol=1e-6)
    assert dataset.observation_layout.sizes == {"desired_goal": 2, "observation": 3}


def test_both_goals_are_in_gymnasium_s_order():
    recorded = write_maze()
    dataset = load("maze-v0", goals="both")
    first = {key: rows[0] for key, rows in recorded[0][1].items()}
    row = dataset.unshift_observation(np.asarray(dataset.episodes.observation[0]))
    np.testing.assert_allclose(row, flatten(MAZE, first), rtol=1e-6)
    names = list(dataset.observation_layout.sizes)
    assert names == ["achieved_goal", "desired_goal", "observation"]


def test_a_goal_that_alone_tells_the_position_is_not_left_out_silently():
    """Pitfall: AntMaze's position is in the achieved goal alone."""
    write_maze(recorded=maze(lambda rows, rng: rng.normal(size=(rows, 2))))
    with pytest.warns(UserWarning, match=r"2 of the 2 numbers .* set goals to 'both'"):
        load("maze-v0")
    assert load("maze-v0", goals="both").episodes.observation.shape[-1] == 7


def test_a_noisy_copy_of_the_observation_is_left_out():
    recorded = maze()
    rng = np.random.default_rng(1)
    for _, value in recorded:
        value["achieved_goal"] = value["achieved_goal"] * 2.0 + rng.normal(size=(1, 2)) * 0.0 + 3.0
    write_maze(recorded=recorded)
    load("maze-v0")  # no warning


def test_a_dict_without_goals_is_kept_whole():
    space = Dict(legs=STATES, arms=GOAL)
    (episode, value), *_ = maze()
    parts = {"legs": value["observation"], "arms": value["achieved_goal"]}
    write("dog-v0", [buffer(episode, observations=parts)], observation_space=space)
    assert load("dog-v0").observation_layout.sizes == {"arms": 2, "legs": 3}


def test_nested_actions_are_scaled_by_the_bounds_of_each_part():
    (episode, _), *_ = maze()
    actions = episode[1].astype(np.float32)
    nested = (2.0 * actions[:, :1], {"wrist": actions[:, 1:]})
    write("arm-v0", [buffer(episode, actions=nested)], action_space=ARM)
    dataset = load("arm-v0")
    np.testing.assert_allclose(dataset.episodes.action[:4], actions, atol=1e-6)
    unscaled = dataset.unscale_action(np.asarray(dataset.episodes.action[0]))
    first, second = dataset.action_layout.nested(unscaled)
    np.testing.assert_allclose(first, nested[0][0], atol=1e-6)
    np.testing.assert_allclose(second["wrist"], nested[1]["wrist"][0], atol=1e-6)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow"])
@pytest.mark.parametrize("infos", [False, True])
def test_formats_and_infos_make_no_difference(data_format, infos):
    if data_format == "arrow":
        pytest.importorskip("pyarrow")
    recorded = maze()
    for _, value in recorded:  # Minari writes Arrow data of the space's type only
        value["observation"] = value["observation"].astype(np.float32)
    write_maze("plain-v0", recorded)
    buffers = [
        buffer(
            episode,
            observations=value,
            infos={"success": [False] * (len(episode[2]) + 1)} if infos else {},
        )
        for episode, value in recorded
    ]
    write("maze-v0", buffers, observation_space=MAZE, data_format=data_format)
    expected = load("plain-v0").episodes
    chex.assert_trees_all_equal(load("maze-v0").episodes, expected)


def test_one_cache_serves_every_choice_of_goals(root, monkeypatch):
    recorded = write_maze()
    monkeypatch.setattr(column_cache, "TICK", -1.0)
    first = load("maze-v0", goals="both")
    monkeypatch.setattr(
        "dawm_jax.data.formats.minari.read_episodes", lambda part: pytest.fail("read again")
    )
    assert (root / "maze-v0" / column_cache.NAME).exists()
    chex.assert_trees_all_equal(load("maze-v0", goals="both").episodes, first.episodes)
    assert load("maze-v0").episodes.observation.shape == (12, 5)
    assert len(recorded) == 2


def test_sets_with_other_parts_are_not_joined():
    write_maze()
    (episode, value), *_ = maze()
    renamed = {"state": value["observation"], "goal": value["desired_goal"]}
    space = Dict(state=STATES, goal=GOAL)
    write("room-v0", [buffer(episode, observations=renamed)], observation_space=space)
    with pytest.raises(DatasetError, match=r"'room-v0' has .* Combine only data sets of one robot"):
        load("maze-v0+room-v0")
    write_maze("again-v0")
    assert load("maze-v0+again-v0").lengths.tolist() == [4, 6, 4, 6]


def test_a_part_of_a_wrong_length_is_named():
    (episode, value), *_ = maze()
    value["desired_goal"] = value["desired_goal"][:-1]
    write_maze(recorded=[(episode, value)])
    with pytest.raises(
        DatasetError, match=r"episode 0 of 'maze-v0' has observations/desired_goal of shape \(4, 2"
    ):
        load("maze-v0")


def test_a_missing_part_is_named(root):
    write_maze()
    with h5py.File(root / "maze-v0" / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1"]["observations"]["desired_goal"]
    with pytest.raises(DatasetError, match=r"cannot be read: .*desired_goal"):
        load("maze-v0")


@pytest.mark.parametrize(("setting", "value"), [("goals", "none"), ("reward_shift", np.inf)])
def test_settings_are_checked_before_files(setting, value):
    with pytest.raises(UserError, match=f"^{setting} is"):
        load("nothing-v0", **{setting: value})


def shifted_maze():
    write_maze()
    plain = load("maze-v0", discount=0.9)
    return plain, load("maze-v0", discount=0.9, reward_shift=-1.0)


def test_a_reward_shift_comes_before_the_returns():
    plain, shifted = shifted_maze()
    recorded = maze()
    rows = [
        (np.concatenate([v["desired_goal"], v["observation"]], 1), e[1], e[2] - 1.0, e[3])
        for e, v in recorded
    ]
    expected = make_dataset(rows, discount=0.9)
    chex.assert_trees_all_close(shifted.episodes, expected.episodes, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shifted.returns, expected.returns, rtol=1e-5)
    np.testing.assert_allclose(shifted.recorded_returns, plain.returns, atol=1e-6)


def test_rewards_leave_in_the_environment_s_units():
    _, shifted = shifted_maze()
    learned = np.array([-1.0, 0.0], np.float32)
    stored = shifted.in_units("reward", learned)
    np.testing.assert_array_equal(stored, [0.0, 1.0])
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(shifted.from_units("reward", stored), learned)


def test_the_best_episodes_are_those_of_the_shifted_rewards():
    """Of two that reach the goal, the faster one."""
    slow, fast = maze(ends=((6, True), (3, True)))
    ends = [np.eye(len(e[2]))[-1] for e, _ in (slow, fast)]
    recorded = [((*e[:2], r, e[3]), v) for (e, v), r in zip((slow, fast), ends, strict=True)]
    write_maze(recorded=recorded)
    kept = load("maze-v0", episodes="best", share=0.5, reward_shift=-1.0)
    assert kept.lengths.tolist() == [3]
    assert kept.recorded_returns.tolist() == [1.0]
