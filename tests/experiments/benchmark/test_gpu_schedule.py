"""The budget of a campaign, and what is kept of a step that fails or is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dawm_jax.learners import LEARNERS
from experiments.benchmark.gpu import main, schedule
from experiments.benchmark.gpu.schedule import GRACE, START, run_steps
from experiments.benchmark.gpu.steps import Step, step_options
from experiments.benchmark.measure import Protocol

DONE = "write(''); "
PARTIAL = "write('-unfinished'); "
SCRIPT = """
import json, pathlib, sys, time
file = pathlib.Path(sys.argv[1])
def write(suffix):
    rows, notes = [{"value": 1}], ["a group was dropped"]
    text = json.dumps({"rows": rows, "notes": notes})
    file.with_stem(file.stem + suffix).write_text(text)
"""


def scripted(**scripts):
    return lambda step, file, *_: [sys.executable, "-c", SCRIPT + scripts[step.name], str(file)]


def entries(out):
    return {entry["step"]: entry for entry in json.loads(out.read_text())["steps"]}


def test_each_step_has_its_share_of_what_is_left_and_leaves_the_rest_its_least(tmp_path):
    given = []

    def command(step, file, budget, limit):
        given.append((budget + START, limit + START + GRACE))
        return [sys.executable, "-c", ""]

    steps = [Step("a", 3, 10), Step("b", 1, 20), Step("c", 2, 30)]
    run_steps(steps, 2.0, tmp_path / "gpu.json", command)
    expected = [(60.0, 70.0), (40.0, 80.0), (120.0 - GRACE, 120.0)]
    for pair, wanted in zip(given, expected, strict=True):
        assert pair == pytest.approx(wanted, abs=2.0)


def test_a_step_that_does_not_fit_is_skipped_with_the_reason(tmp_path):
    out, steps = tmp_path / "gpu.json", [Step("long", 1, 90), Step("short", 1, 0)]
    found = run_steps(steps, 1.0, out, scripted(short=DONE))
    assert found == list(entries(out).values())
    assert found[0]["status"] == "skipped"
    assert found[0]["reason"] in {f"{n} s are left, and it takes at least 90 s" for n in (59, 60)}
    assert (found[1]["status"], found[1]["results"]) == ("done", 1)
    assert found[1]["dropped"] == ["a group was dropped"]


def test_the_results_of_a_step_that_raises_are_kept_and_the_next_ones_run(tmp_path):
    out, steps = tmp_path / "gpu.json", [Step("wrong", 1, 0), Step("right", 1, 0)]
    (tmp_path / "gpu-wrong.json").write_text("{}")  # of an earlier campaign
    run_steps(steps, 1.0, out, scripted(wrong=PARTIAL + "raise ValueError('no GPU')", right=DONE))
    found = entries(out)
    assert found["wrong"]["status"] == "failed"
    assert found["wrong"]["reason"] == "exit status 1: ValueError: no GPU"
    assert found["wrong"]["file"] == "gpu-wrong-unfinished.json"
    assert found["right"]["file"] == "gpu-right.json"
    assert "Traceback" in (tmp_path / "gpu.log").read_text()


def test_a_step_may_find_out_itself_that_its_time_is_over(tmp_path):
    out, script = tmp_path / "gpu.json", DONE + "print('it took more than 3 s'); sys.exit(124)"
    run_steps([Step("task", 1, 0)], 1.0, out, scripted(task=script))
    found = entries(out)["task"]
    assert (found["status"], found["reason"]) == ("cut", "it took more than 3 s")
    assert found["file"] == "gpu-task.json"


def test_a_step_is_stopped_with_its_processes_and_keeps_its_results(monkeypatch, tmp_path):
    monkeypatch.setattr(schedule, "GRACE", 0.5)
    grandchild = tmp_path / "grandchild"
    script = (
        "import signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"child = subprocess.Popen(['sleep', '60']); "
        f"pathlib.Path({str(grandchild)!r}).write_text(str(child.pid)); time.sleep(60)"
    )
    out, started = tmp_path / "gpu.json", time.monotonic()
    steps = [Step("slow", 1, 0), Step("next", 1, 0)]
    run_steps(steps, 2.5 / 60.0, out, scripted(slow=PARTIAL + script, next=DONE))
    assert time.monotonic() - started < 6.0
    assert entries(out)["slow"]["status"] == "cut"
    assert entries(out)["slow"]["file"] == "gpu-slow-unfinished.json"
    assert not running(int(grandchild.read_text()))


def running(process):
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_what_is_finished_is_kept_when_the_campaign_is_killed(tmp_path):
    out = tmp_path / "gpu.json"
    program = f"""
import sys
from pathlib import Path
from experiments.benchmark.gpu.schedule import run_steps
from experiments.benchmark.gpu.steps import Step
script = {SCRIPT + DONE!r} + "time.sleep(20 if 'second' in file.name else 0)"
run_steps([Step("first", 1, 0), Step("second", 1, 0)], 1.0, Path({str(out)!r}),
          lambda step, file, *_: [sys.executable, "-c", script, str(file)])
"""
    campaign = subprocess.Popen([sys.executable, "-c", program])
    second = tmp_path / "gpu-second.json"
    while not second.exists() and campaign.poll() is None:
        time.sleep(0.05)
    campaign.send_signal(signal.SIGKILL)
    campaign.wait()
    assert entries(out)["first"]["status"] == "done"
    assert entries(out)["second"]["status"] == "running"
    assert json.loads((tmp_path / "gpu-first.json").read_text())["rows"]


def test_a_stopped_campaign_says_which_step_it_cut(monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(schedule, "_ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_steps([Step("first", 1, 0)], 1.0, tmp_path / "gpu.json", scripted(first=""))
    assert entries(tmp_path / "gpu.json")["first"]["status"] == "cut"


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (("done", "done", "skipped", "cut"), 0),
        (("done", "failed", "done", "done"), 1),
        (("skipped", "done", "done", "done"), 1),
    ],
)
def test_the_exit_status_says_whether_all_was_checked_and_nothing_failed(
    monkeypatch, tmp_path, statuses, code
):
    names = ("correctness", "sampling", "learners", "task")
    found = [{"step": n, "status": s} for n, s in zip(names, statuses, strict=True)]
    monkeypatch.setattr(main, "run_steps", lambda *_: found)
    assert main.run_campaign(1.0, smoke=False, out=tmp_path / "gpu.json") == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--campaign=gpus"], "error: unknown campaign 'gpus'"),
        (["--minutes=3"], "error: --minutes is for --campaign; without it, use --budget"),
        (
            ["--campaign=gpu", "--suites=data", "--rounds=2"],
            "error: --campaign chooses what to measure and how; leave out --suites, --rounds",
        ),
    ],
)
def test_wrong_flags_of_a_campaign_are_one_line(arguments, message):
    command = [sys.executable, "-m", "experiments.benchmark", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_rehearsal_measures_every_step(tmp_path):
    out = tmp_path / "gpu.json"
    options = ["--campaign=gpu", "--smoke", "--minutes=5", f"--out={out}"]
    command = [sys.executable, "-m", "experiments.benchmark", *options]
    subprocess.run(command, check=True)
    assert {entry["status"] for entry in entries(out).values()} == {"done"}
    checks = json.loads((tmp_path / "gpu-correctness.json").read_text())["checks"]
    assert {f"update, {name}" for name in LEARNERS} < {row["check"] for row in checks}
    task = json.loads((tmp_path / "gpu-task.json").read_text())
    assert task["results"]["learners"]
    assert task["settings"]["matmul_precision"] == "default"


def test_groups_are_measured_once_they_are_begun():
    options = step_options("learners", 40.0, 60.0, smoke=True)
    assert options.budget + options.overtime == 57.0
    assert options.protocol == Protocol(rounds=1, min_rounds=1, seconds=0.0, attempts=1)
