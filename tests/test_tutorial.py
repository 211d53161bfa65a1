"""The commands of docs/tutorial.md, one after the other, at a small size."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SMALLER = {"--steps=20000": "--steps=1500", "100_000": "300", "quickstart.py": "tiny.py"}
SMALLER |= {"--episodes=20": "--episodes=2", "pip install": "pip install --dry-run"}


def tutorial() -> list[list[str]]:
    """The words of each command."""
    text = (ROOT / "docs" / "tutorial.md").read_text().replace("\\\n", " ")
    for long, short in SMALLER.items():
        assert long in text
        text = text.replace(long, short)
    return [shlex.split(line) for line in re.findall(r"^    (.*)", text, re.MULTILINE)]


def test_there_are_ten_commands():
    text = (ROOT / "docs" / "tutorial.md").read_text()
    assert re.findall(r"^\*\*(\d+)\.", text, re.MULTILINE) == [str(i + 1) for i in range(10)]
    assert len(tutorial()) == 10


@pytest.mark.slow
def test_every_command_runs(tmp_path):
    for name in ("examples", "experiments"):  # the reader is in a clone
        (tmp_path / name).symlink_to(ROOT / name)
    settings = os.environ | {
        "MINARI_DATASETS_PATH": str(tmp_path / "minari"),
        "PYTHONPATH": str(ROOT),
    }
    for words in tutorial()[1:]:  # the first one installs
        command = [sys.executable, *words[1:]]
        done = subprocess.run(
            command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
    results = json.loads((tmp_path / "runs" / "pole" / "results.json").read_text())
    learners = {(entry["name"], entry["source"]) for entry in results["learners"]}
    assert learners == {(n, s) for n in ("td3bc", "iql") for s in ("recorded", "dawm")}
    written = {"mine-pole-first-v0.html", "pole.webp", "policy/policy.safetensors"}
    written |= {"runs/pole/inspect.html", "runs/pole/evaluation.json", "policy/policy.jax"}
    assert all((tmp_path / name).stat().st_size > 0 for name in written)
    assert (tmp_path / "minari" / "dawm" / "pole" / "first-v0" / "README.md").is_file()
