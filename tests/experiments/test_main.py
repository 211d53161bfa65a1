import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.launch import local_folder


def launch(module: str, *flags: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", module, *flags]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | environment
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.dataset=local/none/none-v0", "--config.download=false"], "none/none-v0"),
        (["--config.learners=td3bd"], "Did you mean 'td3bc'?"),
        (["--config.dawm.world_modle.width=8"], "world_model"),
        (["--config.seeds=many"], "config.seeds=many"),
        (["--config=nowhere.py"], "nowhere.py"),
        (["extra"], "unexpected arguments: extra"),
        (["--config.discount=nan"], "config.discount is nan"),
        (
            ["--workdir=gs://bucket/runs"],
            "the folder is gs://bucket/runs; runs are written to local",
        ),
        ([f"--workdir={__file__}"], "test_main.py is not a folder"),
    ],
)
def test_a_mistake_is_a_short_message(flags, message):
    done = launch("experiments.main", "--config=experiments/configs/quickstart.py", *flags)
    assert done.returncode != 0
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_tilde_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert local_folder("~/runs") == Path("/home/somebody/runs")
    assert local_folder("runs/~") == Path("runs/~")


@pytest.mark.parametrize(
    ("switch", "value"), [("JAX_ENABLE_X64", "1"), ("JAX_NUMPY_DTYPE_PROMOTION", "strict")]
)
def test_a_switch_of_jax_that_changes_results_is_refused(switch, value, tmp_path):
    flags = ["--config=experiments/configs/tiny.py", f"--workdir={tmp_path / 'run'}"]
    done = launch("experiments.main", *flags, **{switch: value})
    assert done.returncode != 0
    assert done.stderr.startswith(f"error: {switch} is ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_device_is_one_message():
    flags = ["--config=experiments/configs/quickstart.py"]
    done = launch("experiments.main", *flags, JAX_PLATFORMS="abacus")
    assert done.returncode != 0
    assert done.stderr.startswith("error: JAX_PLATFORMS is 'abacus'")
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_traceback_of_a_mistake_can_be_seen():
    flags = ["--config=experiments/configs/quickstart.py", "--config.learners=no", "--debug"]
    done = launch("experiments.main", *flags)
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "unknown learner 'no'" in done.stderr


def test_collect_needs_a_known_environment():
    done = launch("experiments.collect", "--env=Hooper-v5")
    assert done.returncode != 0
    assert "Hopper-v5" in done.stderr
