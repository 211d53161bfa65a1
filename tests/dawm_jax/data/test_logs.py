"""Logs whose columns the user names: each pitfall by hand, and any division into episodes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm_jax.data.formats.logs import ColumnMap, joined, read
from dawm_jax.data.formats.tables import Table
from dawm_jax.errors import UserError


def table(**columns):
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    return Table("log", tuple(arrays), lambda names: {name: arrays[name] for name in names})


def log(steps=6, **columns):
    """Steps of one number each; actions are the negative of it, rewards ten times."""
    state = np.arange(float(steps))
    return table(q=state, u=-state, r=10 * state, **columns)


def found(log, *, whole=False, **names):
    """(observations, actions, whether terminal) of each episode; all others are truncated."""
    columns = ColumnMap(**{"observation": ("q",), "action": ("u",), "reward": "r"} | names)
    for episode in read(log, columns, whole).episodes:
        assert episode["terminations"].sum() + episode["truncations"].sum() == 1
        assert (episode["terminations"] | episode["truncations"])[-1]
        np.testing.assert_array_equal(episode["rewards"], -10 * episode["actions"][:, 0])
    return [
        (
            episode["observations"][:, 0].tolist(),
            (-episode["actions"][:, 0]).tolist(),
            bool(episode["terminations"][-1]),
        )
        for episode in read(log, columns, whole).episodes
    ]


ENDS = [([0, 1, 1], [0, 1], True), ([2, 3], [2], False), ([4, 5], [4], False)]


@pytest.mark.parametrize(
    "kind", [np.asarray, np.int64, np.float32, lambda flag: np.where(flag, "True", "false")]
)
def test_the_last_step_is_dropped_but_for_a_terminal(kind):
    """A log of N rows has no observation after the last one."""
    flags = {"done": kind(np.arange(6) == 1), "late": kind(np.arange(6) == 3)}
    log_ = log(**flags)
    assert found(log_, terminal="done", timeout="late") == ENDS
    recording = read(log_, ColumnMap(("q",), ("u",), terminal="done", timeout="late"))
    assert (recording.steps, sum(len(e["rewards"]) for e in recording.episodes)) == (6, 4)


def test_what_is_both_a_terminal_and_a_timeout_is_terminal():
    flag = np.arange(6) == 1
    assert found(log(a=flag, b=flag), terminal="a", timeout="b")[0] == ENDS[0]


@pytest.mark.parametrize("episode", [[7, 7, 5, 5, 6, 6], list("aabbcc")])
def test_an_episode_ends_where_its_number_changes(episode):
    assert found(log(e=episode, done=np.arange(6) == 1), episode="e", terminal="done") == ENDS


def test_a_gap_in_time_is_no_transition():
    time = [0, 0.1, 5.0, 5.1, 9, 9.1]
    assert [steps for _, steps, _ in found(log(t=time), time="t", gap=1.0)] == [[0], [2], [4]]
    days = np.datetime64("2026-01-01T00:00:00") + (1e9 * np.array(time)).astype("timedelta64[ns]")
    assert len(found(log(t=days), time="t", gap=1.0)) == 3
    nanoseconds = 1_700_000_000_000_000_000 + (10 * np.array(time)).astype(np.uint64)
    assert len(found(log(t=nanoseconds), time="t", gap=10)) == 3


def test_a_gap_also_ends_an_episode_of_one_number():
    times = [0, 1, 2, 9, 10, 11]
    assert [o for o, *_ in found(log(t=times, e=[1] * 6), episode="e", time="t", gap=2)] == [
        [0, 1, 2],
        [3, 4, 5],
    ]


def test_time_restarts_with_an_episode_but_never_within_one():
    time = [0, 1, 2, 0, 1, 2]
    assert len(found(log(t=time, e=[0, 0, 0, 1, 1, 1]), time="t", episode="e")) == 2
    with pytest.raises(UserError, match="time goes from 2 to 0 in row 3 of log, within an episode"):
        found(log(t=time), time="t", gap=5)
    with pytest.raises(UserError, match=r"time goes from 0 to 0 in row 1 .*3 such rows"):
        found(log(t=[0, 0, 1, 1, 2, 2]), time="t", gap=5)
    with pytest.raises(UserError, match="time goes from 255 to 1 in row 1"):
        found(log(t=np.array([255, 1, 2, 3, 4, 5], np.uint8)), time="t", gap=5)
    with pytest.raises(UserError, match="numbers are expected, for example seconds"):
        found(log(t=list("abcdef")), time="t", gap=5)


def test_next_observations_give_the_last_one_and_show_jumps():
    after = [1, 2, 2.5, 4, 5, 5.5]
    names = {"next_observation": ("after",)}
    assert found(log(after=after), **names) == [
        ([0, 1, 2, 2.5], [0, 1, 2], False),
        ([3, 4, 5, 5.5], [3, 4, 5], False),
    ]
    with pytest.raises(UserError, match="has 1 numbers, but the next observation 2"):
        found(log(after=np.zeros((6, 2))), **names)


def test_patterns_name_columns_in_the_order_of_the_table():
    wide = table(q10=[1.0, 2], x=[[3.0, 4], [5, 6]], q2=[7.0, 8], u=[0.0, 0], e=[0, 0])
    recording = read(wide, ColumnMap(("x", "q*"), ("u",), episode="e"))
    assert recording.observation_names == ("x[0]", "x[1]", "q10", "q2")
    assert recording.episodes[0]["observations"].tolist() == [[3, 4, 1, 7], [5, 6, 2, 8]]


def test_a_name_with_brackets_is_a_name_first():
    brackets = table(**{"q[0]": [1.0, 2], "q0": [3.0, 4], "u": [0.0, 0]})
    recording = read(brackets, ColumnMap(("q[0]",), ("u",)), whole=True)
    assert recording.episodes[0]["observations"].tolist() == [[1], [2]]


def test_types_stay_as_they_are_and_integers_become_float64():
    narrow = table(q=np.ones(2, np.float32), u=np.zeros(2, np.float32), n=np.array([2**40, 1]))
    episode = read(narrow, ColumnMap(("q",), ("u",), reward="n"), whole=True).episodes[0]
    kinds = [episode[name].dtype for name in ("observations", "actions", "rewards")]
    assert kinds == [np.float32, np.float32, np.float64]
    assert (
        read(narrow, ColumnMap(("n",), ("u",)), whole=True).episodes[0]["observations"][0] == 2**40
    )


def test_without_rewards_all_are_zero_and_the_summary_says_so():
    recording = read(log(), ColumnMap(("q",), ("u",)), whole=True)
    assert not recording.episodes[0]["rewards"].any()
    assert recording.notes == ("rewards: none in the files; all are 0",)


@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        ({}, {}, r"nothing says where the episodes of log end: .*--terminal.*--episode.*--gap"),
        ({}, {"observation": ()}, r"name the columns of the observation \(--observation\); log"),
        ({}, {"action": ("x?",)}, "no column x[?] for the action; it has q, u, r"),
        ({}, {"episode": "e"}, "log has no column e; it has q, u, r"),
        ({}, {"observation": ("*",)}, "u of log is both an observation and an action"),
        ({}, {"observation": ("q", "[pq]")}, "the observation names q twice"),
        ({"e": [0, 0, 1, 1, 0, 0]}, {"episode": "e"}, "the episode 0 of log begins again in row 4"),
        (
            {"e": [0] * 6, "d": [0, 1, 0, 0, 1, 0]},
            {"episode": "e", "terminal": "d"},
            r"the episode 0 of log continues after row 1, .*\(2 such rows\)",
        ),
        ({"d": [0, 0, 2, 0, 0, 1]}, {"terminal": "d"}, "the terminal of log is 2 in row 2; 0, 1"),
        ({"d": list("010x01")}, {"timeout": "d"}, "the timeout of log is"),
        ({"d": np.zeros((6, 2))}, {"timeout": "d"}, r"has shape \(6, 2\); one value per row"),
        ({"d": [0, 1]}, {"terminal": "d"}, r"different lengths: .*q 6, .*d 2. Each needs one row"),
        ({"a": [0, 1, 0, 1, 2, 1]}, {"action": ("a",)}, r"a of log holds integers \(0, ...\)"),
        (
            {"n": np.array([0, 1, np.nan, 3, np.inf, 5])},
            {"observation": ("n",)},
            r"n of log is nan in row 2 \(of 2 such rows\)",
        ),
        ({"n": np.full(6, np.nan)}, {"reward": "n"}, "n of log is nan in row 0"),
        ({"n": list("0123x5")}, {"observation": ("n",)}, "n of log holds 'x' in row 4; numbers"),
        ({"n": list("abcdef")}, {"reward": "n"}, "the reward of log holds 'a' in row 0"),
        ({"p": np.zeros((6, 4, 4, 3), np.uint8)}, {"observation": ("p",)}, "no pixels"),
        ({}, {"gap": 1.0}, "a gap needs a column of time"),
        ({"t": range(6)}, {"time": "t", "gap": -1.0}, "the gap is -1.0; it must be above 0"),
        ({"t": range(6)}, {"time": "t"}, "nothing says where the episodes"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(columns, names, message):
    with pytest.raises(UserError, match=message):
        found(log(**columns), **names)


def test_several_files_are_episodes_of_the_same_features():
    parts = [read(log(n), ColumnMap(("q",), ("u",)), whole=True) for n in (3, 2)]
    assert joined(parts).steps == 5
    assert [len(episode["rewards"]) for episode in joined(parts).episodes] == [2, 1]
    other = read(log(3), ColumnMap(("r",), ("u",)), whole=True)
    with pytest.raises(UserError, match="file 2 has the features r, but the first one has q"):
        joined([parts[0], other])


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_division_into_episodes_is_found_again(data):
    """From flags, numbers, gaps or next observations alike; bit for bit."""
    ends = data.draw(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=6))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    width = data.draw(st.integers(1, 3))
    how = data.draw(st.sampled_from(["flags", "episode", "gap", "next"]))
    observations = [rng.normal(size=(n + 1, width)) for n, _ in ends]
    actions = rng.normal(size=sum(n for n, _ in ends))
    number = np.repeat(np.arange(len(ends)), [n for n, _ in ends])
    last = np.append(number[1:] != number[:-1], True)
    terminal = last & np.array([end for _, end in ends])[number]
    columns = {
        **{f"q{i}": np.concatenate([o[:-1, i] for o in observations]) for i in range(width)},
        "u": actions,
        "terminal": terminal,
        "timeout": last & ~terminal,
        "episode": 100 - number,
        "time": np.arange(len(number)) + 10.0 * number,
        "next": np.concatenate([o[1:] for o in observations]),
    }
    names = {
        "flags": {"timeout": "timeout"},
        "episode": {"episode": "episode"},
        "gap": {"time": "time", "gap": 5.0},
        "next": {"next_observation": ("next",), "timeout": "timeout"},
    }[how]
    mapping = ColumnMap(("q?",), ("u",), terminal="terminal", **names)
    episodes = iter(read(table(**columns), mapping).episodes)
    start = 0
    for (steps, ended), states in zip(ends, observations, strict=True):
        kept = steps - (not ended and how != "next")
        if kept:
            episode = next(episodes)
            expected = states[: kept + 1].copy()
            if ended and how != "next":
                expected[-1] = expected[-2]
            np.testing.assert_array_equal(episode["observations"], expected)
            np.testing.assert_array_equal(episode["actions"][:, 0], actions[start : start + kept])
            assert episode["terminations"].tolist() == [False] * (kept - 1) + [ended]
            assert episode["truncations"].tolist() == [False] * (kept - 1) + [not ended]
        start += steps
    assert next(episodes, None) is None
