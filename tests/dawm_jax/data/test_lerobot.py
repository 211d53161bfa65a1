"""LeRobot's layouts: each pitfall of them."""

import json

import numpy as np
import pytest

from dawm_jax.data.formats import lerobot
from dawm_jax.data.formats.logs import ColumnMap
from dawm_jax.errors import UserError

LENGTHS = (4, 1, 3, 2)


def frames(episode):
    """An episode of frames, each with its number in all frames as the state."""
    steps, first = LENGTHS[episode], sum(LENGTHS[:episode])
    index = np.arange(first, first + steps)
    state = np.stack([index, index + 0.5], axis=1).astype(np.float32)
    return {
        "observation.state": list(state),
        "action": list(-state[:, :1]),
        "next.reward": 10 * state[:, 0],
        "next.done": np.arange(steps) == steps - 1,
        "timestamp": (np.arange(steps) / 50).astype(np.float32),
        "frame_index": np.arange(steps),
        "episode_index": np.full(steps, episode),
        "index": index,
    }


def joined(parts):
    return {name: np.concatenate([list(part[name]) for part in parts]) for name in parts[0]}


@pytest.fixture
def write(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def write(version="v3.0", parts=None, drop=(), **info):
        """v2: a file per episode; v3: two files, the later episodes first and rows reversed."""
        folder = tmp_path / version
        if parts is None and version.startswith("v2"):
            parts = {f"episode_{i:06d}": frames(i) for i in range(4)}
        elif parts is None:
            later, early = joined([frames(2), frames(3)]), joined([frames(0), frames(1)])
            parts = {"file-000": {n: v[::-1] for n, v in later.items()}, "file-001": early}
        (folder / "data" / "chunk-000").mkdir(parents=True)
        (folder / "meta").mkdir()
        for name, columns in parts.items():
            arrays = {n: pyarrow.array(list(v)) for n, v in columns.items() if n not in drop}
            parquet.write_table(pyarrow.table(arrays), folder / f"data/chunk-000/{name}.parquet")
        info = {"codebase_version": version, "total_episodes": 4, "total_frames": 10} | info
        (folder / "meta" / "info.json").write_text(json.dumps(info))
        return folder

    return write


def found(folder, **columns):
    recording = lerobot.read(folder, ColumnMap(**columns))
    for episode in recording.episodes:
        np.testing.assert_array_equal(
            episode["observations"][:, 1], episode["observations"][:, 0] + 0.5
        )
    return [
        (
            episode["observations"][:, 0].tolist(),
            (-episode["actions"][:, 0]).tolist(),
            bool(episode["terminations"][-1]),
        )
        for episode in recording.episodes
    ]


TERMINAL = [
    ([0, 1, 2, 3, 3], [0, 1, 2, 3], True),
    ([4, 4], [4], True),
    ([5, 6, 7, 7], [5, 6, 7], True),
    ([8, 9, 9], [8, 9], True),
]
CUT = [([0, 1, 2, 3], [0, 1, 2], False), ([5, 6, 7], [5, 6], False), ([8, 9], [8], False)]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_episodes_come_in_order_whatever_files_they_are_in(write, version):
    assert found(write(version)) == TERMINAL


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_without_done_no_end_is_terminal_and_the_last_frame_s_step_is_dropped(write, version):
    folder = write(version, drop=["next.done"])
    assert found(folder) == CUT
    assert lerobot.read(folder, ColumnMap()).steps == 10


def test_done_can_be_a_time_limit(write):
    folder = write()
    assert found(folder, timeout="next.done") == found(folder, terminal="") == CUT


def test_numbers_are_those_of_the_files_to_the_bit(write):
    recording = lerobot.read(write("v2.1"), ColumnMap())
    assert recording.observation_names == ("observation.state[0]", "observation.state[1]")
    rewards = np.concatenate([episode["rewards"] for episode in recording.episodes])
    np.testing.assert_array_equal(rewards, 10 * np.arange(10, dtype=np.float32))
    kinds = {recording.episodes[0][n].dtype for n in ("observations", "actions", "rewards")}
    assert kinds == {np.dtype(np.float32)}


def test_other_columns_can_be_named_and_rewards_left_out(write):
    folder = write(drop=["next.reward"])
    recording = lerobot.read(
        folder, ColumnMap(observation=("timestamp", "action"), action=("observation.state",))
    )
    assert recording.observation_names == ("timestamp", "action[0]")
    assert not recording.episodes[0]["rewards"].any()
    assert recording.notes


def missing_frame():
    first = frames(0)
    return {"file-000": {name: np.delete(np.array(v), 1, 0) for name, v in first.items()}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": "v1.6"}, "is of LeRobot's version v1.6; v2 and v3 are read"),
        ({"total_frames": 12}, "holds 10 frames, but meta/info.json names 12: download all"),
        ({"total_episodes": 5}, "holds 4 episodes, but meta/info.json names 5"),
        ({"parts": {}}, "has no data/.*parquet: download all of the data set"),
        ({"parts": missing_frame()}, "frame 1 of episode 0 is missing or there twice"),
        ({"drop": ["action"]}, "no column action for the action; it has observation.state, next"),
        ({"drop": ["frame_index"]}, "has no column frame_index"),
        (
            {"drop": ["observation.state"], "features": {"top": {"dtype": "video"}}},
            r"has pictures \(top\), which are not supported, but no observation.state",
        ),
    ],
)  # fmt: skip
def test_what_is_incomplete_or_unknown_is_refused(write, settings, message):
    with pytest.raises(UserError, match=message):
        found(write(**settings))


def test_done_on_the_way_is_refused(write):
    parts = {f"episode_{i:06d}": frames(i) for i in range(4)}
    parts["episode_000000"]["next.done"][1] = True
    folder = write("v2.1", parts)
    with pytest.raises(UserError, match=r"episode 0 of v2\.1 continues after row 1"):
        found(folder)
    assert len(found(folder, terminal="")) == 3


def test_a_folder_without_readable_info_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no readable meta/info.json with a codebase_version"):
        found(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text("[]")
    with pytest.raises(UserError, match="it is no LeRobot data set"):
        found(tmp_path)
