"""The command: flags, exit status and messages; the examples of docs/data.md run as they stand."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest

from dawm_jax.data.formats.minari import load

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
LOG = re.search(r"```csv\n(.*?)```", PAGE, re.DOTALL)[1]
SUMMARY = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]
# Calls the command once for each line of the input, as separate programs would, but in one that has
# to start once.
RUN_ALL = """
import sys
from absl import app, flags
from experiments.import_data import main
for line in sys.stdin:
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    main(flags.FLAGS(["import_data", *line.split()]))
    print("done", flush=True)
app.run(main, ["import_data", "log.csv", "--id=mine/arm/last-v0", "--action_low=low"])
"""


def examples():
    """The arguments of each command on the page."""
    joined = re.sub(r"\\\n\s*", " ", PAGE)
    return re.findall(r"^    python -m experiments\.import_data (.+)$", joined, re.MULTILINE)


def steps():
    """Arrays of six steps of Hopper's sizes, in two episodes."""
    rng, ends = np.random.default_rng(0), np.arange(6) % 3 == 2
    states = rng.normal(size=(7, 11)).astype(np.float32)
    return {
        "observations": states[:-1],
        "next_observations": states[1:],
        "actions": rng.uniform(-1, 1, size=(6, 3)).astype(np.float32),
        "rewards": rng.normal(size=6).astype(np.float32),
        "terminals": ends,
        "timeouts": ends,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files that the page names, and a root of data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text(LOG)
    Path("runs").mkdir()
    for name in ("1.csv", "2.csv"):
        Path("runs", name).write_text(LOG)
    with h5py.File("hopper_medium_replay-v2.hdf5", "w") as file:
        file.update(steps())
    flat = np.linspace(-1, 1, 12).reshape(6, 2)
    stamp = np.array([0, 0.1, 0.2, 5, 5.1, 5.2])
    np.savez("log.npz", position=flat, velocity=flat, torque=flat[:, 0], stamp=stamp)
    states = {"observations": flat, "actions": flat, "terminals": np.arange(6) % 3 == 2}
    np.savez("mine.npz", rewards=stamp, **states)
    np.savez("pointmaze-medium-navigate-v0.npz", qpos=flat, **states)
    if find_spec("pyarrow"):
        write_parquet(flat)
    return tmp_path


def write_parquet(flat):
    import pyarrow
    from pyarrow import parquet

    done, rows = np.arange(6) == 2, list(flat)
    columns = {
        "state": rows,
        "next_state": rows[1:] + rows[:1],
        "action": rows,
        "reward": flat[:, 0],
    }
    parquet.write_table(pyarrow.table(columns | {"done": done}), "log.parquet")
    frames = {
        "observation.state": rows,
        "observation.environment_state": rows,
        "action": rows,
        "next.done": np.arange(6) % 3 == 2,
        "episode_index": np.arange(6) // 3,
        "frame_index": np.arange(6) % 3,
    }
    Path("pusht/data/chunk-000").mkdir(parents=True)
    Path("pusht/meta").mkdir()
    Path("pusht/meta/info.json").write_text(json.dumps({"codebase_version": "v3.0"}))
    parquet.write_table(pyarrow.table(frames), "pusht/data/chunk-000/file-000.parquet")


def test_the_examples_of_the_page_run_and_an_error_is_one_line(folder):
    missing = [
        pattern
        for package, pattern in (("pyarrow", r"\.parquet|pusht"), ("ogbench", "--task="))
        if find_spec(package) is None
    ]
    lines = [
        line.replace("runs/*.csv", "runs/1.csv runs/2.csv")
        for line in examples()
        if not any(re.search(pattern, line) for pattern in missing)
    ]
    assert len(lines) >= 5
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], capture_output=True, text=True, input="\n".join(lines)
    )
    assert done.stderr == "error: --action_low is low; numbers are expected\n"
    assert done.returncode == 1
    assert done.stdout.count("done\n") == len(lines)
    assert done.stdout.startswith(SUMMARY)
    for line in lines:
        (name,) = re.findall(r"--id=(\S+)", line)
        assert len(load(name).lengths) == 2
    assert not (folder / "root" / "mine" / "arm" / "last-v0").exists()
