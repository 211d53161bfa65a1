import os
import signal
import subprocess
import sys
import time

import minari
import numpy as np
import pytest

from dawm_jax.data.column_cache import NAME
from dawm_jax.data.formats.minari import load
from dawm_jax.data.formats.minari_files import folder_of
from dawm_jax.errors import UserError
from experiments.run.context import Run
from experiments.simulation import recording
from experiments.simulation.behaviors import QUALITIES, ROBOTS, Behavior
from experiments.simulation.recording import blocks, collect, collect_missing, record
from experiments.store import new_data_set


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("steps", [8, 1001, 200_000])
def test_blocks_add_up_and_share_the_steps_equally(quality, steps):
    made = list(blocks(quality, steps))
    shares = dict.fromkeys(QUALITIES[quality], 0)
    for name, count in made:
        shares[name] += count
    assert sum(shares.values()) == steps
    assert max(shares.values()) - min(shares.values()) <= 1
    assert list(dict.fromkeys(name for name, _ in made)) == list(QUALITIES[quality])
    assert max(count for _, count in made) <= 25_000


def test_a_record_has_exactly_the_steps_and_ends_truncated():
    episodes = record("Hopper-v5", "replay_2", 150, seed=3)
    assert sum(len(episode["rewards"]) for episode in episodes) == 150
    for episode in episodes:
        steps = len(episode["rewards"])
        assert episode["observations"].shape == (steps + 1, 11)
        assert episode["actions"].shape == (steps, 3)
        ends = episode["terminations"] | episode["truncations"]
        assert ends[-1]
        assert not ends[:-1].any()
    assert episodes[-1]["terminations"][-1] != episodes[-1]["truncations"][-1]


def test_the_same_seed_gives_the_same_record_and_another_another():
    first, again, other = (record("Hopper-v5", "medium", 60, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first[0]["observations"], again[0]["observations"])
    np.testing.assert_array_equal(first[0]["actions"], again[0]["actions"])
    assert not np.array_equal(first[0]["actions"][:5], other[0]["actions"][:5])


def test_the_number_of_cores_changes_nothing(recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    again = load(collect("Hopper-v5", "medium-replay", 1_600, seed=1))
    monkeypatch.undo()
    first = load(recorded)
    for name, value in vars(first.episodes).items():
        np.testing.assert_array_equal(value, getattr(again.episodes, name))


@pytest.mark.parametrize("environment_id", ROBOTS)
def test_shipped_policies_are_better_than_random(environment_id):
    def mean_return(name):
        return np.mean([e["rewards"].sum() for e in record(environment_id, name, 3_000, seed=0)])

    assert mean_return("expert") > mean_return("medium") > mean_return("random")


def test_the_mean_action_follows_the_stored_weights():
    class NoNoise:
        def standard_normal(self, size, dtype):
            return np.zeros(size, dtype)

    behavior = Behavior("Hopper-v5", "medium", NoNoise())
    observation = np.linspace(-1.0, 1.0, 11)
    w0, b0, w1, b1, w_mean, b_mean, *_ = (w.astype(np.float64) for w in behavior.weights)
    hidden = np.maximum(np.maximum(observation @ w0 + b0, 0) @ w1 + b1, 0)
    expected = np.tanh(hidden @ w_mean + b_mean)
    np.testing.assert_allclose(behavior(observation, None), expected, atol=1e-4)


def test_a_collected_data_set_says_what_it_is(recorded):
    dataset = minari.load_dataset(recorded)
    assert recorded == "local/hopper/medium-replay-v0"
    assert dataset.total_steps == 1_600
    assert dataset.env_spec.id == "Hopper-v5"
    metadata = dataset.storage.metadata
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (-20.272305, 3234.3)
    assert "not comparable with D4RL" in metadata["description"]
    assert any(entry.startswith("mujoco==") for entry in metadata["requirements"])


def test_a_data_set_is_not_replaced_unasked(recorded):
    with pytest.raises(UserError, match="already exists"):
        collect("Hopper-v5", "medium-replay", 1_600)


def test_a_data_set_of_another_size_is_told_and_used(recorded, capsys):
    collect_missing(recorded, 1_600)
    assert capsys.readouterr().out == ""
    collect_missing(recorded, 7)
    (line,) = capsys.readouterr().out.splitlines()
    assert f"{recorded} exists with 1600 steps and is used as it is" in line
    assert "--env=Hopper-v5 --quality=medium-replay --steps=7 --overwrite" in line


def test_nothing_is_recorded_where_it_cannot_be_kept(tmp_path, monkeypatch):
    (tmp_path / "local").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot write to .*local is not a folder"):
        collect("Hopper-v5", "medium", 10)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "local" / "below"))
    with pytest.raises(UserError, match="Change MINARI_DATASETS_PATH"):
        collect("Hopper-v5", "medium", 10)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def broken_off(monkeypatch):
    """Lets a recording end, so to say, when all is written but not yet in its place."""
    write = recording.write

    def killed(*args, **about):
        write(*args, **about)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recording, "write", killed)
        patch.setattr(new_data_set.shutil, "rmtree", lambda *args, **kwargs: None)
        with pytest.raises(KeyboardInterrupt):
            collect("Hopper-v5", "random", 40)


def test_a_killed_recording_leaves_no_data_set_and_is_begun_again(root, monkeypatch):
    broken_off(monkeypatch)
    assert list(root.rglob("*.hdf5"))
    assert not (root / "local").exists()
    assert minari.list_local_datasets() == {}
    assert collect("Hopper-v5", "random", 40) == "local/hopper/random-v0"
    assert list(minari.list_local_datasets()) == ["local/hopper/random-v0"]
    assert load("local/hopper/random-v0").transitions == 40
    assert {path.name for path in root.iterdir()} == {
        "local",
        ".writing-local-hopper-random-v0.lock",
    }


def settle(dataset_id):
    """As if the data set were written long ago, so that what is read of it is kept."""
    for path in (folder_of(dataset_id) / "data").iterdir():
        os.utime(path, (1.6e9, 1.6e9))


def test_overwriting_puts_another_in_its_place(root):
    name = collect("Hopper-v5", "random", 40)
    settle(name)
    assert load(name).transitions == 40
    assert (folder_of(name) / NAME).exists()
    collect("Hopper-v5", "random", 60, overwrite=True)
    assert not (folder_of(name) / NAME).exists()
    assert load(name).transitions == 60
    assert {path.name for path in root.iterdir()} == {
        "local",
        ".writing-local-hopper-random-v0.lock",
    }


def test_a_data_set_is_the_same_stage_when_it_is_read_and_when_it_is_kept(recorded, tmp_path):
    settle(recorded)
    read, kept = (Run(None, None, tmp_path, load(recorded)).data_stage for _ in range(2))
    assert (folder_of(recorded) / NAME).exists()
    assert read.fingerprint == kept.fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [("die", "was killed, possibly out of memory"), ("fail", "no such policy")],
)
def test_a_recording_process_that_fails_is_one_message(root, monkeypatch, name, message):
    monkeypatch.setattr(recording, "blocks", lambda quality, steps: [(name, steps)])
    monkeypatch.setattr(recording, "record", globals()[name])
    with pytest.raises(UserError, match=message):
        collect("Hopper-v5", "random", 40)
    assert not (root / "local").exists()


def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(*args):
    raise UserError("no such policy")


def test_an_environment_that_fails_is_named(monkeypatch):
    def step(self, action):
        raise RuntimeError("fell apart")

    monkeypatch.setattr("gymnasium.wrappers.TimeLimit.step", step)
    with pytest.raises(UserError, match="Hopper-v5 failed in episode 0 of random: RuntimeError: f"):
        record("Hopper-v5", "random", 10, seed=0)


COLLECT = """
import sys
from experiments.simulation.recording import collect
if __name__ == "__main__":
    collect("Hopper-v5", "random", 10**7)
"""


def test_recording_processes_end_with_a_killed_parent(root):
    script = root / "script.py"
    script.write_text(COLLECT)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, start_new_session=True) as process:
        until(lambda: len(group(process.pid)) > 2)  # the parent, a helper, a worker
        process.kill()
    until(lambda: not group(process.pid))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_stops_a_recording_at_once(root, number):
    """As Ctrl-C in a terminal is, here while the workers are still starting."""
    flags = ["--env=Hopper-v5", "--quality=random", "--steps=100000000"]
    command = [sys.executable, "-m", "experiments.collect", *flags]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: len(group(process.pid)) > 2)
            os.killpg(process.pid, number)
            said = process.communicate(timeout=120)[1].decode()
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert said == "stopped: nothing is recorded; run the same command to start again\n"
    until(lambda: not group(process.pid))
    assert not (root / "local").exists()


def group(number):
    """The living processes of a process group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True).stdout
    rows = [row.split() for row in listed.splitlines()]
    return [row for row in rows if row[0] == str(number) and row[1][0] != "Z"]


def until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that in two minutes")


def test_only_missing_local_data_sets_of_known_robots_are_collected(recorded, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "experiments.simulation.recording.collect", lambda *args: asked.append(args)
    )
    collect_missing(f"{recorded}+local/walker2d/expert-v0+mujoco/hopper/medium-v0+local/x/y-v0", 7)
    assert asked == [("Walker2d-v5", "expert", 7)]
