"""Data sets from files of others: from the file to what `load` reads, and what errors leave."""

import errno
import json
import os
import resource
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import gymnasium
import h5py
import numpy as np
import pytest

from dawm_jax.data.formats.detection import format_of
from dawm_jax.data.formats.logs import ColumnMap
from dawm_jax.data.formats.minari import load
from dawm_jax.data.formats.minari_files import open_data_set, read_episodes
from dawm_jax.errors import UserError
from experiments.simulation import importing
from experiments.simulation.import_options import Options
from experiments.simulation.importing import import_data

ID = "mine/arm/first-v0"
MAP = ColumnMap(("q?",), ("u?",), reward="r", terminal="done", episode="e")
STEPS = 12  # in three episodes of four, the first of which is terminal


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    return tmp_path / "root"


def columns(seed=0):
    rng = np.random.default_rng(seed)
    numbers = {name: rng.normal(size=STEPS) for name in ("q0", "q1", "q2", "u0", "u1", "r")}
    return numbers | {"done": np.arange(STEPS) == 3, "e": np.arange(STEPS) // 4}


def write_csv(path, log):
    rows = zip(*(column.tolist() for column in log.values()), strict=True)
    path.write_text("\n".join([",".join(log), *(",".join(map(repr, row)) for row in rows)]))


def write_npz(path, log):
    np.savez(path, **log)


def write_parquet(path, log):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(log)), path)


@pytest.fixture
def log(tmp_path):
    """Writes a log as CSV; its path."""

    def write(name="log.csv", **changes):
        write_csv(tmp_path / name, columns() | changes)
        return tmp_path / name

    return write


@pytest.mark.parametrize("write", [write_csv, write_npz, write_parquet])
def test_a_log_comes_back_to_the_bit_and_loads(root, tmp_path, write):
    kind, log = write.__name__.removeprefix("write_"), columns()
    path = tmp_path / f"log.{kind}"
    write(path, log)
    summary = import_data([path], ID, options=Options(columns=MAP)).splitlines()
    first, *rest = read_episodes(open_data_set(ID, download=False))
    observations = np.stack([log["q0"], log["q1"], log["q2"]], axis=1)
    actions = np.stack([log["u0"], log["u1"]], axis=1)
    np.testing.assert_array_equal(first["observations"], observations[[0, 1, 2, 3, 3]])
    np.testing.assert_array_equal(first["actions"], actions[:4])
    np.testing.assert_array_equal(first["rewards"], log["r"][:4])
    assert first["terminations"].tolist() == [False, False, False, True]
    for start, episode in zip((4, 8), rest, strict=True):
        np.testing.assert_array_equal(episode["observations"], observations[start : start + 4])
        np.testing.assert_array_equal(episode["actions"], actions[start : start + 3])
        assert episode["truncations"].tolist() == [False, False, True]
    dataset = load(ID)
    kept = [*range(7), 8, 9, 10]
    np.testing.assert_array_equal(dataset.action_low, actions[kept].min(0).astype(np.float32))
    q, u = observations[[*range(12)], 1], actions[kept, 0]
    rewards = log["r"].astype(np.float32).astype(float)
    returns = [rewards[:4].sum(), rewards[4:7].sum(), rewards[8:11].sum()]
    assert summary[0] == f"wrote {ID}, from log.{kind} as {kind}"
    assert {
        "episodes: 3, 1 to a terminal state, 2 truncated",
        "steps: 10",
        "lengths: 3 to 4, mean 3.3",
        f"returns: {min(returns):.6g} to {max(returns):.6g}, mean {np.mean(returns):.6g}",
        "observations: 3 wide",
        f"  q1: {q.min():.6g} to {q.max():.6g}",
        "actions: 2 wide",
        f"  u0: {u.min():.6g} to {u.max():.6g}",
        "dropped: 2 steps, whose next observation is unknown",
        "evaluated in: no environment",
    } <= set(summary)
    assert any(line.startswith("action bounds: the range of the data, [") for line in summary)


def test_several_logs_are_an_episode_each(root, log):
    options = Options(columns=ColumnMap(("q?",), ("u?",)))
    summary = import_data([log("a.csv"), log("b.csv")], ID, options=options)
    assert "episodes: 2, 0 to a terminal state, 2 truncated" in summary
    assert "steps: 22" in summary
    with pytest.raises(UserError, match="nothing says where the episodes of"):
        import_data([log("a.csv")], "mine/arm/second-v0", options=options)


def test_bounds_of_actions_can_be_given(root, log):
    options = Options(columns=MAP, action_low=(-0.5,), action_high=(0.5, 10.0))
    summary = import_data([log()], ID, options=options)
    assert "action bounds: those of the flags, -0.5 to [0.5, 10]; " in summary
    u = np.stack([columns()["u0"], columns()["u1"]], axis=1)[[*range(7), 8, 9, 10]]
    share = ((u < -0.5) | (u > [0.5, 10.0])).mean()
    assert f"{share:.2%} of the entries lie beyond them" in summary
    with pytest.warns(UserWarning, match="lie beyond the bounds"):
        dataset = load(ID)
    assert dataset.action_low.tolist() == [-0.5, -0.5]
    assert dataset.action_high.tolist() == [0.5, 10.0]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"action_low": (-1.0,)}, r"--action_high has 0 numbers; .*and both flags"),
        ({"action_low": (-1.0,) * 3, "action_high": (1.0,)}, "--action_low has 3 numbers; .* of 2"),
        ({"action_low": (1.0,), "action_high": (-1.0,)}, "the action bounds are 1 to -1; finite"),
        ({"action_low": (-np.inf,), "action_high": (1.0,)}, "the action bounds are -inf to 1"),
    ],
)
def test_bounds_that_are_none_are_refused(root, log, bounds, message):
    with pytest.raises(UserError, match=message):
        import_data([log()], ID, options=Options(columns=MAP, **bounds))
    assert not list(root.rglob("*.hdf5"))


def test_an_environment_gives_the_bounds_and_must_fit(root, log):
    options = Options("Pendulum-v1", columns=ColumnMap(("q?",), ("u0",), episode="e"))
    summary = import_data([log()], ID, options=options)
    assert "action bounds: those of Pendulum-v1, -2 to 2" in summary
    assert load(ID).evaluation_environment.id == "Pendulum-v1"
    for changes, message in (
        ({"action_low": (-1.0,), "action_high": (1.0,)}, "differ from the bounds those of Pendu"),
        ({"columns": MAP}, r"in Pendulum-v1 have shapes \(\(3,\), \(1,\)\), those of the data"),
    ):
        with pytest.raises(UserError, match=message):
            import_data([log()], "mine/b-v0", options=Options(**vars(options) | changes))


def files(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("where", ["reading", "writing", "moving"])
def test_an_existing_data_set_survives_an_error(root, log, monkeypatch, where):
    import_data([log()], ID, options=Options(columns=MAP))
    before = files(root)
    with pytest.raises(UserError, match=f"'{ID}' already exists; replace it with --overwrite"):
        import_data([log()], ID, options=Options(columns=MAP))
    path = log(u0=np.full(STEPS, np.nan)) if where == "reading" else log()
    what = {"writing": (importing, "write"), "moving": (Path, "rename")}.get(where)
    if what:
        usual = getattr(*what)

        def fail(*args, **settings):
            if where == "moving" and "replaced" in (args[0].name, args[1].name):
                return usual(*args)  # aside, and back
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(*what, fail)
    with pytest.raises(UserError, match="nan in row 0" if where == "reading" else "disk is full"):
        import_data([path], ID, options=Options(columns=MAP), overwrite=True)
    assert files(root) == before
    if what:
        monkeypatch.setattr(*what, usual)
    assert "steps: 10" in import_data([log()], ID, options=Options(columns=MAP), overwrite=True)


def test_a_disk_without_room_is_noticed_before_anything_is_written(root, log):
    """In the middle of a file HDF5 would crash."""
    import_data([log()], ID, options=Options(columns=MAP))
    before, path, limit = files(root), log(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(UserError, match="a file exceeds the size limit"):
            import_data([path], ID, options=Options(columns=MAP), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert files(root) == before


def test_a_data_set_that_a_killed_process_moved_aside_is_put_back(root, log):
    import_data([log()], ID, options=Options(columns=MAP))
    before = files(root)
    aside = root / ".writing-mine-arm-first-v0" / "replaced"
    aside.parent.mkdir()
    (root / ID).rename(aside)
    with pytest.raises(UserError, match="already exists"):
        import_data([log()], ID, options=Options(columns=MAP))
    assert files(root) == before


def test_a_new_data_set_is_there_as_a_whole_or_not_at_all(root, log):
    with pytest.raises(UserError, match="nan in row 0"):
        import_data([log(q1=np.full(STEPS, np.nan))], ID, options=Options(columns=MAP))
    assert {path.name for path in root.rglob("*")} == {".writing-mine-arm-first-v0.lock"}


def test_formats_are_found_by_content(tmp_path):
    with h5py.File(tmp_path / "data", "w") as file:
        file["observations"] = np.zeros(3)
    write_csv(tmp_path / "log.TXT", columns())
    write_npz(tmp_path / "log.npz", columns())
    states = dict.fromkeys(("observations", "actions", "terminals"), np.zeros(3))
    write_npz(tmp_path / "states.npz", states | {"qpos": np.zeros(3)})
    write_npz(tmp_path / "compact.npz", states | {"valids": np.zeros(3)})
    write_npz(
        tmp_path / "steps.npz", states | {"qpos": np.zeros(3), "next_observations": np.zeros(3)}
    )
    write_npz(tmp_path / "flat.npz", states)
    (tmp_path / "set" / "meta").mkdir(parents=True)
    (tmp_path / "set" / "meta" / "info.json").write_text(json.dumps({}))
    (tmp_path / "table").write_bytes(b"PAR1....PAR1")
    expected = {
        "data": "d4rl",
        "log.TXT": "csv",
        "log.npz": "npz",
        "states.npz": "ogbench",
        "compact.npz": "ogbench",
        "steps.npz": "npz",
        "flat.npz": "npz",
        "set": "lerobot",
        "table": "parquet",
    }
    assert {name: format_of([tmp_path / name]) for name in expected} == expected
    (tmp_path / "notes.pkl").write_bytes(b"\x80\x04.")
    for name, message in (
        ("notes.pkl", "is in no format that is recognized: name it with --format, one of d4rl"),
        ("nowhere.csv", "nowhere.csv does not exist"),
        (".", "is a folder without meta/info.json"),
    ):
        with pytest.raises(UserError, match=message):
            format_of([tmp_path / name])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("csv", Options(task="x"), "--task cannot be used with the format csv, which has --action"),
        ("csv", Options(max_steps=3), "--max_steps cannot be used with the format csv"),
        ("d4rl", Options(columns=MAP), "--action, --episode, --observation, --reward, "),
        ("lerobot", Options(columns=ColumnMap(gap=1.0)), "--gap cannot be used with the format"),
        ("ogbench", Options(), "needs either a task or rewards, as OGBench stores none"),
        ("ogbench", Options(task="a", columns=ColumnMap(reward="r")), "needs either a task or rew"),
        ("ogbench", Options(task="antmaze-large-navigate-v0"), "is no single task of OGBench; one"),
        (
            "ogbench",
            Options(task="antmaze-large-navigate-singletask-task1-v0"),
            r"of the data set antmaze-large-navigate-v0, but the file is log.csv: goals differ",
        ),
        ("cvs", None, "unknown format 'cvs': .*Did you mean 'csv'"),
    ],
)  # fmt: skip
def test_options_of_other_formats_are_refused(root, log, kind, options, message):
    with pytest.raises(UserError, match=message):
        import_data([log()], ID, kind, options)


def test_only_logs_come_in_several_files(root, log):
    with pytest.raises(UserError, match=r"2 files are given, but the format d4rl takes one"):
        import_data([log("a.csv"), log("b.csv")], ID, "d4rl")


def test_a_file_without_a_complete_step_is_refused(root, tmp_path):
    write_csv(tmp_path / "log.csv", {name: column[:1] for name, column in columns().items()})
    options = Options(columns=ColumnMap(("q?",), ("u?",), episode="e"))
    with pytest.raises(UserError, match="no step whose next observation is known"):
        import_data([tmp_path / "log.csv"], ID, options=options)


TASK = "pointmaze-medium-navigate-singletask-task1-v0"


@pytest.fixture
def states(tmp_path):
    """OGBench's file of two trajectories of a point; the second one comes near its goal."""
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(9, 2)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (9, 2)).astype(np.float32),
        "terminals": np.isin(np.arange(9), [4, 8]).astype(np.float32),
        "qpos": np.concatenate([rng.normal(size=(5, 2)), np.full((4, 2), 20.0)]),
    }
    np.savez(tmp_path / "pointmaze-medium-navigate-v0.npz", **arrays)
    np.savez(tmp_path / "pointmaze-medium-navigate-v0-val.npz", **arrays)
    return tmp_path / "pointmaze-medium-navigate-v0.npz"


def test_ogbench_s_rewards_without_its_package(root, states, monkeypatch):
    monkeypatch.setitem(sys.modules, "ogbench", None)
    with pytest.raises(UserError, match=r"not installed: pip install ogbench, or name an array"):
        import_data([states], ID, options=Options(task=TASK))


def test_ogbench_s_rewards_are_those_of_its_task(root, states, monkeypatch):
    """With a stand-in for its package."""
    spec = gymnasium.spec("Pendulum-v1")
    environment = SimpleNamespace(spec=spec, close=lambda: None)

    def make(name, env_only):
        assert (name, env_only) == (TASK, True)
        return environment

    def relabel(name, made, arrays):
        assert (name, made) == ("Pendulum-v1", environment)
        arrays["rewards"] = arrays["qpos"][:, 0] - 1.0

    package, relabeling = ModuleType("ogbench"), ModuleType("ogbench.relabel_utils")
    package.make_env_and_datasets, relabeling.relabel_dataset = make, relabel
    monkeypatch.setitem(sys.modules, "ogbench", package)
    monkeypatch.setitem(sys.modules, "ogbench.relabel_utils", relabeling)
    arrays = dict(np.load(states))
    arrays["observations"], arrays["actions"] = np.zeros((9, 3)), np.zeros((9, 1), np.float32)
    np.savez(states, **arrays)
    assert "evaluated in: Pendulum-v1" in import_data([states], ID, options=Options(task=TASK))
    first, second = read_episodes(open_data_set(ID, download=False))
    np.testing.assert_array_equal(first["rewards"], arrays["qpos"][:4, 0] - 1.0)
    np.testing.assert_array_equal(second["rewards"], arrays["qpos"][5:8, 0] - 1.0)
    del arrays["qpos"]
    np.savez(states, **arrays)
    with pytest.raises(UserError, match=r"does not fit the task .* KeyError: 'qpos'"):
        import_data([states], "mine/b-v0", "ogbench", Options(task=TASK))


def test_ogbench_s_own_rewards_and_transitions(root, states):
    own = pytest.importorskip("ogbench")
    environment, expected, _ = own.make_env_and_datasets(TASK, dataset_path=str(states))
    summary = import_data([states], ID, options=Options(task=TASK))
    assert f"evaluated in: {environment.spec.id}" in summary
    episodes = list(read_episodes(open_data_set(ID, download=False)))
    assert (expected["rewards"] == 0).any()
    for name in ("actions", "rewards"):
        found = np.concatenate([episode[name] for episode in episodes])
        np.testing.assert_array_equal(found, expected[name])
    following = np.concatenate([episode["observations"][1:] for episode in episodes])
    np.testing.assert_array_equal(following, expected["next_observations"])
    dataset = load(ID)
    assert dataset.evaluation_environment.id == environment.spec.id
    assert dataset.action_low.tolist() == [-1.0, -1.0]
