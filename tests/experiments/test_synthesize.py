"""Export of a finished run: the same data in every library, whatever happens on the way."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest

import dawm_jax as dawm
from dawm_jax.data.formats.minari_files import folder_of
from dawm_jax.errors import UserError
from experiments.stages import episodes as stage
from experiments.store import files
from experiments.synthetic import Target, synthesize

ID = "dawm/hopper/test-v0"
SIZE = {"transitions": 150, "steps": 10}


def minari_target(overwrite=False):
    return Target("minari", ID, None, overwrite)


@pytest.fixture(scope="module")
def workdir(finished, tmp_path_factory):
    """A copy of the finished run, which others share."""
    folder = tmp_path_factory.mktemp("copy") / "hopper"
    shutil.copytree(finished[1], folder)
    return folder


@pytest.fixture(scope="module")
def exported(workdir):
    """What an undisturbed export says of itself."""
    synthetic = synthesize(workdir, minari_target(), **SIZE)
    yield synthetic
    shutil.rmtree(folder_of("dawm"))


def episodes_file(workdir):
    (path,) = workdir.glob("stages/episodes-dawm-*/episodes.npy")
    return path


def test_the_set_loads_with_the_same_transitions(exported, workdir):
    """Here and in Minari, with its mark and all that an evaluation needs."""
    rows = np.load(episodes_file(workdir))
    dataset = dawm.load(ID)
    assert dataset.synthetic == (ID,)
    assert dataset.environment.id == "Hopper-v5"
    assert dataset.reference_scores == (-20.272305, 3234.3)
    transitions = dawm.to_transitions(dataset)
    for name in ("observation", "next_observation", "reward"):
        np.testing.assert_array_equal(getattr(transitions, name), rows[name])
    action = dataset.unscale_action(np.asarray(transitions.action))
    np.testing.assert_allclose(action, rows["action"], atol=1e-6)
    np.testing.assert_array_equal(transitions.discount == 0.0, rows["terminal"])
    found = minari.load_dataset(ID)
    assert found.recover_environment().spec.id == "Hopper-v5"
    for episode in found.iterate_episodes():
        assert len(episode) == 10 or episode.terminations[-1]
        assert episode.actions.dtype == np.float32
        assert all(action in found.action_space for action in episode.actions)


def test_the_metadata_say_what_the_data_are(exported, workdir, finished):
    config, _, results = finished
    assert minari.load_dataset(ID).storage.metadata["synthetic"] == json.loads(json.dumps(exported))
    assert exported["source"] == "dawm"
    assert exported["recorded"] == config.dataset
    assert exported["commit"] == results["versions"]["commit"]
    assert exported["run"] == "hopper"
    assert exported["settings"]["world_model"]["horizon"] == 4
    expected = json.loads(json.dumps(results["sources"]["dawm"]["fidelity"]))
    assert exported["fidelity"] == expected
    assert exported["transitions"] >= 150
    card = (folder_of(ID) / "README.md").read_text()
    assert f"{exported['transitions']:,} transitions" in card
    assert "inferred actions, synthetic" in card


def test_another_format_has_the_same_transitions(exported, workdir, tmp_path, capsys):
    rows = np.load(episodes_file(workdir))
    for kind, name in (("npz", "x.npz"), ("d4rl", "x.hdf5"), ("d3rlpy", "x.h5")):
        synthesize(workdir, Target(kind, None, tmp_path / name, False), **SIZE)
        assert "synthetic" in (tmp_path / f"{name}.README.md").read_text()
    assert "episodes-dawm: found" in capsys.readouterr().out
    with np.load(tmp_path / "x.npz") as found, h5py.File(tmp_path / "x.hdf5") as other:
        for name in found.files:
            np.testing.assert_array_equal(found[name], rows[name.removesuffix("s")])
            np.testing.assert_array_equal(other[name], found[name])
        assert json.loads(other["metadata/synthetic"].asstr()[()])["source"] == "dawm"
    with h5py.File(tmp_path / "x.h5") as found:
        assert found["num_episodes"][()] == exported["episodes"]


def flipped(path):
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_killed_or_damaged_generation_ends_with_the_same_bits(
    exported, workdir, monkeypatch, damaged
):
    whole = episodes_file(workdir).read_bytes()
    folder = episodes_file(workdir).parent
    files.remove(folder / "episodes.npy")
    monkeypatch.setattr(stage.episodes, "join", None)  # killed before it
    with pytest.raises(TypeError):
        synthesize(workdir, minari_target(True), **SIZE)
    monkeypatch.undo()
    made = sorted(folder.glob("parts/*.npz"))
    assert len(made) > 2
    flipped(made[1]) if damaged else files.remove(made[-1])
    synthesize(workdir, minari_target(True), **SIZE)
    assert episodes_file(workdir).read_bytes() == whole
    assert not (folder / "parts").exists()


def test_an_existing_set_or_file_is_kept_unless_it_may_be_overwritten(exported, workdir, tmp_path):
    before = (folder_of(ID) / "README.md").stat().st_mtime_ns
    with pytest.raises(UserError, match="already exists; replace it with --overwrite"):
        synthesize(workdir, minari_target(), **SIZE)
    assert (folder_of(ID) / "README.md").stat().st_mtime_ns == before
    (tmp_path / "x.npz").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        synthesize(workdir, Target("npz", None, tmp_path / "x.npz", False), **SIZE)
    assert (tmp_path / "x.npz").read_text() == "mine"
    synthesize(workdir, Target("npz", None, tmp_path / "x.npz", True), **SIZE)
    assert np.load(tmp_path / "x.npz").files


def test_a_full_disk_leaves_the_old_file_and_no_other(exported, workdir, tmp_path, monkeypatch):
    (tmp_path / "x.npz").write_text("mine")

    def full(path: Path, rows):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dawm_jax.export.npz.write", full)
    with pytest.raises(UserError, match="the disk is full"):
        synthesize(workdir, Target("npz", None, tmp_path / "x.npz", True), **SIZE)
    assert (tmp_path / "x.npz").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_run_without_a_trained_model_is_refused(workdir, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(workdir, folder)
    (last,) = folder.glob("stages/inverse_dynamics-*/checkpoints/20")
    if damage == "missing":
        files.remove(last)
    else:
        flipped(max((p for p in last.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size))
    before = set(folder.rglob("*"))
    with pytest.raises(UserError, match=r"has no trained inverse_dynamics: .*Finish it with"):
        synthesize(folder, Target("npz", None, tmp_path / "x.npz", False), **SIZE)
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("target", "source", "message"),
    [
        (Target("npz", ID, None, False), "dawm", "--format=npz needs --file, without --id"),
        (Target("minari", None, Path("x"), False), "dawm", "--format=minari needs --id"),
        (Target("minari", "nothing", None, False), "dawm", "'nothing' is no id"),
        (Target("npz", None, Path("/proc/x/y.npz"), False), "dawm", "cannot write to"),
        (Target("npz", None, Path("x.npz"), False), "dwam", "Did you mean 'dawm'"),
        (Target("npz", None, Path("x.npz"), False), "recorded", "no rollouts of at least two"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    workdir, tmp_path, monkeypatch, target, source, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        synthesize(workdir, target, source)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    target = Target("npz", None, tmp_path / "x.npz", False)
    with pytest.raises(UserError, match="is not the folder of a run"):
        synthesize(tmp_path, target)
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="are not the settings of a run"):
        synthesize(tmp_path, target)


@pytest.mark.slow
def test_the_command_ends_with_a_message(workdir, tmp_path):
    arguments = [f"--run={workdir}", f"--file={tmp_path / 'x.npz'}", "--format=npz"]
    run = [sys.executable, "-m", "experiments.synthesize", *arguments]
    sizes = ["--transitions=1_50", "--episode_steps=10"]
    done = subprocess.run([*run, *sizes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "synthetic transitions in" in done.stdout
    again = subprocess.run([*run, *sizes], capture_output=True, text=True)
    assert again.returncode == 1
    assert again.stderr.startswith("error: ")
    assert "Traceback" not in again.stderr
