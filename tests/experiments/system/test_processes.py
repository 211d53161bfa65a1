import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_stage import Walk, files_of, returns_of, start

from dawm_jax.errors import UserError
from experiments.faults.comparison import differences, results_of
from experiments.store.checkpoints import Checkpoints
from experiments.system import processes

HERE = Path(__file__).parent.parent
FAST_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def popen(*command, **environment):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": FAST_TO_COMPILE,
        **environment,
    }
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *command], stdout=pipe, stderr=pipe, text=True, env=environment
    )


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def on_devices(count, *arguments):
    """The output of the toy stage in a process with `count` devices."""
    with popen(str(HERE / "several.py"), str(count), *map(str, arguments)) as process:
        out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def two_together(*arguments):
    """The exit codes and outputs of two processes with the toy stage."""
    port = free_port()
    places = [f"localhost:{port}/2/{number}" for number in (0, 1)]
    started = [popen(str(HERE / "several.py"), p, *map(str, arguments)) for p in places]
    ended = [process.communicate(timeout=300) for process in started]
    said = [out.splitlines()[-1:] for out, _ in ended]
    return [process.returncode for process in started], said, ended


def assert_same(said, expected):
    np.testing.assert_allclose(said["x"], expected.state["x"], rtol=1e-5, atol=1e-5)
    for point, same in zip(said["curve"], expected.record["curve"], strict=True):
        assert point["updates"] == same["updates"]
        assert point["returns"].keys() == same["returns"].keys()
        for policy, returns in same["returns"].items():
            np.testing.assert_allclose(point["returns"][policy], returns, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The toy stage on one device, undisturbed."""
    return start(tmp_path_factory.mktemp("whole"), seeds=4, measure=returns_of)


@pytest.mark.slow
def test_a_stage_resumes_on_other_devices(whole, tmp_path):
    """4 updates on eight devices, 4 on this process's, 4 on two."""
    assert on_devices(8, tmp_path, 4)["measured"] == [4]
    found = Checkpoints(files_of(tmp_path).checkpoints, "walk", keep=2)
    np.testing.assert_array_equal(found.load(4)["count"], [4] * 4)
    measured = []

    def measure(state):
        measured.append(int(state["count"][0]))
        return returns_of(state)

    start(tmp_path, Walk(steps=8), seeds=4, measure=measure)
    assert measured == [8]
    said = on_devices(2, tmp_path, 12)
    assert said["measured"] == [12]
    assert_same(said, whole)


def test_two_processes_stop_or_are_killed_and_resume_together(whole, tmp_path):
    """SIGTERM to one of them after update 6, SIGKILL to both after update 10."""
    codes, said, ended = two_together(tmp_path, 12, "SIGTERM@6")
    assert codes == [0, 0], ended
    for number, (line,) in enumerate(said):
        answer = json.loads(line)
        assert answer["kept"] == "walk up to update 6 of 12"
        assert answer["status"] == 128 + signal.SIGTERM
        assert answer["measured"] == ([] if number else [4])
    codes, _, ended = two_together(tmp_path, 12, "SIGKILL@10")
    assert all(codes), ended  # one may find the other dead before its own signal
    codes, said, ended = two_together(tmp_path, 12)
    assert codes == [0, 0], ended
    first, second = (json.loads(line) for (line,) in said)
    assert (first.pop("measured"), second.pop("measured")) == ([12], [])
    assert first == second
    assert_same(first, whole)
    lines = [json.loads(s) for s in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]


def test_a_process_on_its_own_decides_alone():
    assert processes.join(None, None, None, find=False) is False
    assert processes.is_first()
    assert processes.on_first(divmod, 7, 2) == (3, 1)
    assert processes.after_first(lambda: 5) == 5
    assert processes.anywhere(True)
    assert not processes.anywhere(False)
    with pytest.raises(ZeroDivisionError):
        processes.on_first(divmod, 7, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1", 2, None, False), r"--process is missing: set --coordinator=host:port"),
        ((None, None, 1, False), r"--coordinator is missing"),
        (("host", 2, 0, False), r"--coordinator is 'host'; it must be host:port"),
        (("host:1", 2, 2, False), r"--process is 2; with --processes=2 it must be from 0 to 1"),
        (("host:1", 2, 0, True), r"leave them out"),
        ((None, None, None, True), r"cannot connect: set --coordinator"),
    ],
)
def test_missing_settings_are_reported(given, message, monkeypatch):
    monkeypatch.setattr(processes.jax.distributed, "initialize", no_cluster)
    with pytest.raises(UserError, match=message):
        processes.join(*given)
    assert processes.is_first()


def no_cluster(*args, **kwargs):
    raise ValueError("coordinator_address should be defined.")


@pytest.mark.slow
@pytest.mark.parametrize(("source", "learner"), [("recorded", "bc"), ("dawm", "td3bc")])
def test_two_processes_walk_a_whole_run_and_are_killed_in_the_middle(
    recorded, tmp_path, source, learner
):
    flags = {"held_out": 0, "updates": 40, "sources": source, "learners": learner}
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }

    def started(name):
        command = ["-u", "-m", "experiments.main"]
        command.append(f"--config=experiments/configs/tiny.py:{recorded}")
        command += [f"--config.{flag}={value}" for flag, value in flags.items()]
        command += [f"--workdir={tmp_path / name}", "--processes=2"]
        command.append(f"--coordinator=localhost:{free_port()}")
        return [popen(*command, f"--process={number}", **cache) for number in (0, 1)]

    def ended(name):
        running = started(name)
        said = [process.communicate(timeout=600) for process in running]
        assert [process.returncode for process in running] == [0, 0], said
        assert "Final policies" in said[0][0]
        assert "Final policies" not in said[1][0]
        return results_of(tmp_path / name)

    expected = ended("undisturbed")
    running = started("killed")
    assert any(f"{learner}-{source}: 40 to do" in line for line in running[0].stdout)
    sealed = f"stages/{learner}-{source}-*/checkpoints/*.sha256"
    while not list((tmp_path / "killed").glob(sealed)):
        time.sleep(0.05)
    for process in running:
        process.kill()
    for process in running:
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "results.json").exists()
    assert not differences(expected, ended("killed"))
