"""Data sets from files in D4RL's layout, from disk and from a server on this machine."""

import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import h5py
import numpy as np
import pytest

from dawm_jax.data.formats.minari import load
from dawm_jax.data.formats.minari_files import open_data_set, read_episodes
from dawm_jax.errors import UserError
from experiments.simulation import d4rl_mirror
from experiments.simulation.d4rl_mirror import fetch_missing
from experiments.simulation.import_options import Options
from experiments.simulation.importing import import_data


@pytest.fixture
def original(recorded):
    """The episodes of the recorded data set, of which the last one is truncated."""
    return list(read_episodes(open_data_set(recorded, download=False)))


@pytest.fixture
def root(tmp_path, monkeypatch, original):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    return tmp_path / "root"


def write_d4rl(path, episodes, last_known=True):
    """As D4RL does: float32, a row per step, nothing at the cut end but what was recorded."""
    rows = {
        "observations": [e["observations"][:-1].astype(np.float32) for e in episodes],
        "next_observations": [e["observations"][1:].astype(np.float32) for e in episodes],
        "actions": [e["actions"] for e in episodes],
        "rewards": [e["rewards"].astype(np.float32) for e in episodes],
        "terminals": [e["terminations"] for e in episodes],
        "timeouts": [e["truncations"] for e in episodes],
    }
    with h5py.File(path, "w") as file:
        for name, columns in rows.items():
            file[name] = np.concatenate(columns)
        file["timeouts"][-1] = False  # the recording stopped here
        if not last_known:
            del file["next_observations"]


def check_same(dataset_id, original):
    found = list(read_episodes(open_data_set(dataset_id, download=False)))
    for one, other in zip(found, original, strict=True):
        for name in ("observations", "rewards"):
            np.testing.assert_array_equal(one[name], other[name].astype(np.float32))
        for name in ("actions", "terminations", "truncations"):
            np.testing.assert_array_equal(one[name], other[name])


def test_reading_back_gives_the_same_transitions(root, original, tmp_path):
    write_d4rl(tmp_path / "file.hdf5", original)
    summary = import_data([tmp_path / "file.hdf5"], "d4rl/hopper/medium-replay-v2")
    lines = summary.splitlines()
    ended = sum(bool(episode["terminations"].any()) for episode in original)
    assert f"episodes: {len(original)}, {ended} to a terminal state" in summary
    assert {"steps: 1,600", "evaluated in: Hopper-v4"} <= set(lines)
    assert "dropped: 0 steps, whose next observation is unknown" in lines
    check_same("d4rl/hopper/medium-replay-v2", original)
    dataset = load("d4rl/hopper/medium-replay-v2")
    assert dataset.evaluation_environment.id == "Hopper-v4"
    assert dataset.reference_scores == (-20.272305, 3234.3)
    assert {path.name for path in root.iterdir()} == {
        "d4rl",
        ".writing-d4rl-hopper-medium-replay-v2.lock",
    }


def test_steps_without_a_next_observation_are_counted(root, original, tmp_path):
    write_d4rl(tmp_path / "file.hdf5", original, last_known=False)
    truncated = sum(bool(episode["truncations"][-1]) for episode in original)
    summary = import_data([tmp_path / "file.hdf5"], "d4rl/hopper/medium-replay-v2")
    assert f"steps: {1600 - truncated:,}" in summary
    assert f"dropped: {truncated} steps" in summary


@pytest.fixture
def mirror(original, tmp_path):
    """A server with the file of one data set; its address."""
    folder = tmp_path / "mirror" / "abc"
    folder.mkdir(parents=True)
    write_d4rl(folder / "hopper_medium_replay-v2.hdf5", original)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_missing_data_set_is_downloaded_once(root, original, mirror, monkeypatch, capsys):
    name = "d4rl/hopper/medium-replay-v2"
    fetch_missing(f"{name}+local/hopper/medium-v0", True, mirror, "abc")
    assert f"downloading {mirror}/abc/hopper_medium_replay-v2.hdf5" in capsys.readouterr().out
    check_same(name, original)
    monkeypatch.setattr(d4rl_mirror, "_download", None)
    fetch_missing(name, True, mirror, "abc")


def test_a_failed_download_leaves_nothing(root, mirror):
    with pytest.raises(UserError, match=r"medium_expert-v2.hdf5 cannot be downloaded: .*404"):
        fetch_missing("d4rl/hopper/medium-expert-v2", True, mirror, "abc")
    with pytest.raises(UserError, match=r"cannot be downloaded: .*d4rl_mirror"):
        fetch_missing("d4rl/hopper/medium-v2", True, "http://127.0.0.1:1", "abc")
    with pytest.raises(UserError, match=r"Allow the download from .*medium-v2\.hdf5"):
        fetch_missing("d4rl/hopper/medium-v2", False, mirror, "abc")
    assert not root.exists() or not list(root.rglob("*.hdf5"))


def test_a_download_that_breaks_off_is_noticed(root, mirror, monkeypatch):
    class Cut:
        headers = {"Content-Length": "1000"}  # noqa: RUF012

        def __init__(self):
            self.left = [b"some", b""]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def read(self, most):
            return self.left.pop(0)

    monkeypatch.setattr(d4rl_mirror.urllib.request, "urlopen", lambda *args, **settings: Cut())
    with pytest.raises(UserError, match="broke off after 4 of 1000 bytes: run the same command"):
        fetch_missing("d4rl/hopper/medium-v2", True, mirror, "abc")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("Walker2d-v4", r"in Walker2d-v4 have shapes \(\(17,\), \(6,\)\)"),
        ("NoSuchRobot-v0", "NoSuchRobot-v0 cannot be made"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(
    root, original, tmp_path, environment, message
):
    path = tmp_path / "file.hdf5"
    write_d4rl(path, original)
    with pytest.raises(UserError, match=message):
        import_data([path], "d4rl/hopper/medium-v2", options=Options(environment=environment))
    assert not list(root.rglob("*.hdf5"))


def test_a_bad_number_is_refused_before_anything_is_written(root, original, tmp_path):
    original[3]["rewards"][1] = np.nan
    write_d4rl(tmp_path / "file.hdf5", original)
    with pytest.raises(UserError, match=r"episode 3 of .* non-finite value in rewards at step 1"):
        import_data([tmp_path / "file.hdf5"], "d4rl/hopper/medium-v2")
    assert not list(root.rglob("*.hdf5"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("actions", np.zeros(1600, np.int64), "discrete actions are not supported"),
        ("observations", np.zeros((1600, 4, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_discrete_actions_and_pixels_are_refused(root, original, tmp_path, name, value, message):
    path = tmp_path / "file.hdf5"
    write_d4rl(path, original, last_known=False)
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value
    with pytest.raises(UserError, match=message):
        import_data([path], "d4rl/maze/first-v0")
    assert not list(root.rglob("*.hdf5"))


@pytest.mark.parametrize("name", ["hopper", "two words-v0", ""])
def test_what_is_no_id_is_refused(root, tmp_path, name):
    with pytest.raises(UserError, match="id of a data set"):
        import_data([tmp_path / "file.hdf5"], name)
