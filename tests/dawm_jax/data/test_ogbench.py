"""OGBench's layout: each pitfall of it, by hand, and beside OGBench's own loader."""

import numpy as np
import pytest

from dawm_jax.data.formats import ogbench
from dawm_jax.errors import UserError

STATES = np.arange(9, dtype=np.float32)[:, None]
LAST = np.isin(np.arange(9), [3, 4, 8])  # trajectories of 3, 0 and 3 steps
RAW = {
    "observations": STATES,
    "actions": -STATES,
    "terminals": LAST.astype(np.float32),
    "rewards": 10 * STATES[:, 0],
    "qpos": np.zeros((9, 15)),
}
COMPACT = RAW | {
    "terminals": (LAST | np.append(LAST[1:], True)).astype(np.float32),
    "valids": 1 - LAST.astype(np.float32),
}
FOUND = [([0, 1, 2, 3], [0, 1, 2]), ([5, 6, 7, 8], [5, 6, 7])]


def read(tmp_path, arrays, rewards="rewards"):
    np.savez(tmp_path / "file.npz", **arrays)
    return ogbench.read(tmp_path / "file.npz", rewards)


def found(recording):
    for episode in recording.episodes:
        np.testing.assert_array_equal(episode["rewards"], -10 * episode["actions"][:, 0])
    return [
        (episode["observations"][:, 0].tolist(), (-episode["actions"][:, 0]).tolist())
        for episode in recording.episodes
    ]


@pytest.mark.parametrize("arrays", [RAW, COMPACT], ids=["raw", "compact"])
def test_a_terminal_marks_the_last_state_and_not_the_last_step(tmp_path, arrays):
    recording = read(tmp_path, arrays)
    assert found(recording) == FOUND
    assert recording.steps == 6
    assert recording.episodes[0]["observations"].dtype == np.float32


@pytest.mark.parametrize("arrays", [RAW, COMPACT], ids=["raw", "compact"])
def test_trajectories_are_truncated(tmp_path, arrays):
    for episode in read(tmp_path, arrays).episodes:
        assert not episode["terminations"].any()
        assert episode["truncations"].tolist() == [False, False, True]


def test_a_mask_of_zero_ends_no_episode(tmp_path):
    masks = np.ones(9)
    masks[[1, 2, 4, 7]] = 0  # solved on the way, in a state without a step, and in the last step
    recording = read(tmp_path, COMPACT | {"masks": masks})
    assert found(recording) == FOUND
    assert not any(episode["terminations"].any() for episode in recording.episodes)
    assert recording.notes[0].startswith("masks: 0 in 3 steps")


def test_a_cut_file_ends_with_a_state(tmp_path):
    cut = {name: array[:7] for name, array in RAW.items()}
    assert found(read(tmp_path, cut)) == [FOUND[0], ([5, 6], [5])]


def test_rewards_are_a_function_of_the_arrays_or_an_array(tmp_path):
    recording = read(tmp_path, RAW, lambda arrays: arrays["qpos"][:, 0] - 1)
    assert [episode["rewards"].tolist() for episode in recording.episodes] == [[-1] * 3] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": None}, "has no actions: it is not in OGBench's layout"),
        ({"rewards": None}, "has no column rewards; it has observations, actions, terminals, qpos"),
        ({"rewards": np.zeros((9, 2))}, r"have shape \(9, 2\); one for each of its 9 rows"),
        ({"actions": -STATES[:5]}, "different lengths: observations 9, actions 5"),
        ({"next_observations": STATES}, "holds steps, not OGBench's states. .* --format=npz"),
        ({"actions": np.zeros(9, np.int32)}, "discrete actions are not supported"),
        ({"observations": np.zeros((9, 8, 8, 3), np.uint8)}, "no pixels"),
        ({"terminals": STATES[:, 0]}, "terminals of .* must be 0 or 1"),
        ({"valids": 1 - np.eye(9)[6]}, "contradicts itself: a row that is not valid ends no traj"),
    ],
)
def test_another_layout_is_refused(tmp_path, change, message):
    arrays = {name: array for name, array in (RAW | change).items() if array is not None}
    with pytest.raises(UserError, match=message):
        read(tmp_path, arrays)


@pytest.mark.parametrize("compact", [False, True])
def test_transitions_are_those_of_ogbench_s_own_loader(tmp_path, compact):
    own = pytest.importorskip("ogbench.utils")
    rng = np.random.default_rng(0)
    rows = np.sum(lengths := [5, 2, 9])
    arrays = {
        "observations": rng.normal(size=(rows, 3)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(rows, 2)).astype(np.float32),
        "terminals": np.isin(np.arange(rows), np.cumsum(lengths) - 1),
        "rewards": rng.normal(size=rows),
    }
    np.savez(tmp_path / "raw.npz", **arrays)
    expected = own.load_dataset(tmp_path / "raw.npz")
    if compact:
        arrays |= own.load_dataset(tmp_path / "raw.npz", compact_dataset=True)
    episodes = read(tmp_path, arrays).episodes
    for name, part in (("observations", slice(-1)), ("next_observations", slice(1, None))):
        states = np.concatenate([episode["observations"][part] for episode in episodes])
        np.testing.assert_array_equal(states, expected[name])
    for name, other in (("actions", "actions"), ("truncations", "terminals")):
        values = np.concatenate([episode[name] for episode in episodes])
        np.testing.assert_array_equal(values, expected[other])
