import subprocess
import sys

import pytest


def launch(module: str, *flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", module, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.dataset=local/none/none-v0", "--config.download=false"], "none/none-v0"),
        (["--config.learners=td3bd"], "Did you mean 'td3bc'?"),
        (["--config.world_modle.width=8"], "world_model"),
        (["--config.seeds=many"], "config.seeds=many"),
        (["--config=nowhere.py"], "nowhere.py"),
        (["extra"], "unexpected arguments: extra"),
    ],
)
def test_a_mistake_is_a_short_message(flags, message):
    done = launch("experiments.main", "--config=experiments/configs/quickstart.py", *flags)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4


def test_collect_needs_a_known_environment():
    done = launch("experiments.collect", "--env=Hooper-v5")
    assert done.returncode != 0
    assert "Hopper-v5" in done.stderr
