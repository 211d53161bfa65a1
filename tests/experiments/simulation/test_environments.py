"""What making an environment says."""

import subprocess
import sys

import mujoco
import pytest

from experiments.simulation.environments import _model_warnings

MAKE = """
from experiments.simulation.environments import make
with make("HalfCheetah-v5") as environment:
    environment.reset()
"""


def test_a_deprecated_part_of_a_robots_file_is_not_mentioned(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", MAKE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said.stdout == said.stderr == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("message", "shown"), [("it is deprecated", ""), ("NaN", "WARNING: NaN\n")]
)
def test_other_warnings_of_mujoco_are_shown(message, shown, capsys):
    before = mujoco.get_mju_user_warning()
    with _model_warnings():
        mujoco.get_mju_user_warning()(message)
    assert capsys.readouterr().err == shown
    assert mujoco.get_mju_user_warning() == before
