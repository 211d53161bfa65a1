"""Returns of uniform random actions."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from dawm_jax.errors import UserError
from experiments.simulation.random_policy import play, random_returns


def test_episodes_are_those_of_their_numbers():
    rows = play("Pendulum-v1", 3, 5)
    environment, rng = gymnasium.make("Pendulum-v1"), np.random.default_rng(4)
    environment.reset(seed=4)
    total, ended, steps = 0.0, False, 0
    while not ended:
        action = rng.uniform(-2.0, 2.0, 1).astype(np.float32)
        _, reward, terminated, truncated, _ = environment.step(action)
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    assert rows[1] == (pytest.approx(total), steps)
    assert play("Pendulum-v1", 4, 5) == rows[1:]


def test_means_and_errors_are_of_all_blocks(monkeypatch):
    monkeypatch.setattr("experiments.simulation.random_policy.BLOCK", 3)
    monkeypatch.setattr(
        "experiments.simulation.random_policy.in_processes",
        lambda function, tasks: [function(*task) for task in tasks],
    )
    names = ["InvertedPendulum-v5", "Pendulum-v1"]
    found = random_returns(names, 4)
    for name in names:
        returns, lengths = np.array(play(name, 0, 4)).T
        assert found[name]["return_mean"] == pytest.approx(returns.mean())
        assert found[name]["standard_error"] == pytest.approx(np.std(returns, ddof=1) / 2.0)
        assert found[name]["length_mean"] == lengths.mean()


def test_an_environment_that_is_missing_is_named():
    with pytest.raises(UserError, match="NoSuchRobot-v5 fails: NameNotFound"):
        play("NoSuchRobot-v5", 0, 1)


def command(*flags):
    every = [sys.executable, "-m", "experiments.random_returns", "--episodes=2", *flags]
    return subprocess.run(every, capture_output=True, text=True)


@pytest.mark.slow
def test_the_command_writes_what_it_measured(tmp_path):
    out = tmp_path / "new" / "returns.json"
    ended = command("--env=InvertedPendulum-v5", f"--out={out}")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(out.read_text())
    assert result["environments"].keys() == {"InvertedPendulum-v5"}
    assert result["versions"]["mujoco"]
    assert "InvertedPendulum-v5: " in ended.stdout


@pytest.mark.slow
def test_the_command_ends_with_a_message_and_no_file(tmp_path):
    (tmp_path / "file").touch()
    ended = command(f"--out={tmp_path}/file/returns.json")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "is not a folder" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
