"""D4RL's layout: each pitfall of it, by hand."""

import h5py
import numpy as np
import pytest

from dawm_jax.data.formats import d4rl
from dawm_jax.errors import UserError

STATES = np.arange(12.0, dtype=np.float32)[:, None]  # of all steps, in order


def arrays(terminals=(), timeouts=None, following=True, steps=6):
    """Steps of one number each; a step's next observation is larger by a half."""
    found = {
        "observations": STATES[:steps].copy(),
        "actions": -STATES[:steps],
        "rewards": 10.0 * STATES[:steps, 0],
        "terminals": np.isin(np.arange(steps), terminals),
    }
    ends = np.isin(np.arange(steps), [*terminals, *(timeouts or ())])
    if timeouts is not None:
        found["timeouts"] = np.isin(np.arange(steps), timeouts)
    if following:
        after = np.append(STATES[1:steps], [[99.0]], axis=0)
        found["next_observations"] = np.where(ends[:, None], STATES[:steps] + 0.5, after).astype(
            np.float32
        )
    return found


def found(*args, max_steps=None, **settings):
    """(observations, actions, whether terminal, whether truncated) of each episode."""
    return [
        (
            episode["observations"][:, 0].tolist(),
            (-episode["actions"][:, 0]).tolist(),
            bool(episode["terminations"][-1]),
            bool(episode["truncations"][-1]),
        )
        for episode in d4rl.episodes(arrays(*args, **settings), max_steps)
    ]


def test_the_last_observation_is_the_next_one_of_the_last_step():
    """And not the first one of the next episode."""
    assert found(terminals=[1], timeouts=[3]) == [
        ([0, 1, 1.5], [0, 1], True, False),
        ([2, 3, 3.5], [2, 3], False, True),
        ([4, 5, 99], [4, 5], False, True),  # the data end here: truncated, not terminal
    ]


def test_without_next_observations_a_timeout_s_last_step_is_dropped_and_a_terminal_s_kept():
    assert found(terminals=[1], timeouts=[3], following=False) == [
        ([0, 1, 1], [0, 1], True, False),
        ([2, 3], [2], False, True),
        ([4, 5], [4], False, True),
    ]


def test_an_episode_of_one_step_without_a_next_observation_is_dropped():
    assert found(timeouts=[0, 3], following=False)[0] == ([1, 2, 3], [1, 2], False, True)


def test_without_timeouts_episodes_end_at_the_step_limit():
    assert [steps for _, steps, *_ in found(terminals=[1], max_steps=3, following=False)] == [
        [0, 1],
        [2, 3],  # of 2, 3, 4, the last of which is dropped
    ]
    with pytest.raises(UserError, match=r"no timeouts: give the step limit .*--max_steps"):
        found(terminals=[1])


def test_an_end_that_is_both_is_terminal():
    assert found(terminals=[2], timeouts=[2])[0] == ([0, 1, 2, 2.5], [0, 1, 2], True, False)


def test_an_unmarked_jump_ends_an_episode():
    data = arrays(timeouts=[3])
    data["next_observations"][1] = 7.0
    first, second, *_ = d4rl.episodes(data)
    assert first["observations"][:, 0].tolist() == [0, 1, 7]
    assert second["observations"][:, 0].tolist() == [2, 3, 3.5]
    assert first["truncations"].tolist() == [False, True]


def test_rewards_and_types_stay_as_they_are(tmp_path):
    path = tmp_path / "file.hdf5"
    with h5py.File(path, "w") as file:
        for name, array in arrays(terminals=[1], timeouts=[3]).items():
            file[name] = array[:, None] if name in ("rewards", "terminals") else array
        file["infos/qpos"] = np.zeros((6, 2))
    episodes = list(d4rl.episodes(d4rl.read(path)))
    assert [episode["rewards"].tolist() for episode in episodes] == [[0, 10], [20, 30], [40, 50]]
    for name in ("observations", "actions", "rewards"):
        assert episodes[0][name].dtype == np.float32


def no_rewards(file):
    del file["rewards"]


def cut_actions(file):
    cut = file["actions"][:4]
    del file["actions"]
    file["actions"] = cut


def no_steps(file):
    for name in list(file):
        empty = file[name][:0]
        del file[name]
        file[name] = empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_steps, "has no steps"),
        (no_rewards, "has no rewards: it is not in D4RL's layout"),
        (cut_actions, "has 4 rows of actions, but 6 of observations: it is cut or damaged"),
    ],
)
def test_another_layout_is_refused(tmp_path, change, message):
    path = tmp_path / "file.hdf5"
    with h5py.File(path, "w") as file:
        for name, array in arrays(timeouts=[3]).items():
            file[name] = array
        change(file)
    with pytest.raises(UserError, match=message):
        d4rl.read(path)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_hdf5_file_is_refused(tmp_path, content):
    path = tmp_path / "file.hdf5"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not an HDF5 file of arrays"):
        d4rl.read(path)
    with pytest.raises(UserError, match="is not an HDF5 file of arrays"):
        d4rl.read(tmp_path / "nowhere.hdf5")
