"""Runs steps one after the other, each in a process of its own, within a number of minutes.

No step can take the others' results along: each writes a file of its own as it goes, and the
schedule's file says after each event what became of every step.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.benchmark.campaign import matmul_precision, unfinished
from experiments.benchmark.gpu.steps import OUT_OF_TIME, Step
from experiments.store.files import write_json
from experiments.system.provenance import commit

ROOT = Path(__file__).parents[3]
OVERRUN = 2.0  # the most that a step may use, in shares
GRACE = 3.0  # seconds between the signal that stops a process and the one that ends it
START = 5.0  # seconds that a process takes to start

# Of a step, its file, the seconds in which it begins measurements, and those until it is stopped.
Command = Callable[[Step, Path, float, float], list[str]]


def run_steps(
    steps: Sequence[Step], minutes: float, out: Path, command: Command
) -> list[dict[str, Any]]:
    """Runs the steps, in order, and writes `out` and a log beside it.

    A step begins nothing beyond its share of what is left. It is stopped after twice that, or once
    it leaves less than the steps after it need at least.

    Returns:
        An entry for each step: its `status` (done, failed, cut or skipped) and the `reason`, the
        `seconds` that it took and those that it had, the `file` that holds its results, how many
        `results` these are, and what was `dropped` to save time.
    """
    deadline = time.monotonic() + 60.0 * minutes
    entries: list[dict[str, Any]] = []
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "minutes": minutes,
        "settings": {"matmul_precision": matmul_precision()},
        "steps": entries,
    }
    log = out.with_suffix(".log")
    out.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    for number, step in enumerate(steps):
        left, later = deadline - time.monotonic(), steps[number + 1 :]
        file = step_file(out, step)
        for old in (file, unfinished(file)):
            old.unlink(missing_ok=True)
        entry: dict[str, Any] = {"step": step.name, "status": "running"}
        entries.append(entry)
        if left < step.least:
            reason = f"{max(left, 0.0):.0f} s are left, and it takes at least {step.least:.0f} s"
            entry.update(status="skipped", reason=reason)
        else:
            share = left * step.share / (step.share + sum(each.share for each in later))
            most = min(OVERRUN * share, left - sum(each.least for each in later))
            limit = max(step.least, most) - GRACE
            budget = max(min(share, limit) - START, 1.0)
            entry.update(budget=budget, limit=limit)
            write_json(out, record)
            print(f"{step.name}: {budget:.0f} s", flush=True)
            started = time.monotonic()
            try:
                entry.update(_ended(command(step, file, budget, limit - START), log, limit))
            except BaseException:
                entry.update(status="cut", reason="the campaign was stopped")
                raise
            finally:
                entry["seconds"] = time.monotonic() - started
                entry.update(_found(file))
                write_json(out, record)
        write_json(out, record)
        print(f"{step.name}: {entry['status']} {entry.get('reason', '')}".rstrip(), flush=True)
    return entries


def step_file(out: Path, step: Step) -> Path:
    """The result file of a step, beside the schedule's."""
    return out.with_name(f"{out.stem}-{step.name}.json")


def _found(file: Path) -> dict[str, Any]:
    """What a step has left, finished or not."""
    for each in (file, unfinished(file)):
        if each.exists():
            results = json.loads(each.read_text())
            count = len(results.get("rows", results.get("checks", ())))
            return {"file": each.name, "results": count, "dropped": results.get("notes", [])}
    return {"file": None}


def worker(step: Step, file: Path, budget: float, limit: float, smoke: bool) -> list[str]:
    """The command that measures a step."""
    module = "experiments.benchmark.gpu.worker"
    size = "smoke" if smoke else "full"
    seconds = [f"{budget:.1f}", f"{limit:.1f}"]
    return [sys.executable, "-m", module, step.name, str(file.absolute()), *seconds, size]


def _ended(command: list[str], log: Path, limit: float) -> dict[str, str]:
    """Waits for a process, at most `limit` seconds; its status, and the reason if it is not done.

    Its output goes to the log.
    """
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its own processes end with it
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return {"status": "cut", "reason": f"it was stopped after {limit:.0f} s"}
        finally:
            _stop(process)
    if code == 0:
        return {"status": "done"}
    lines = log.read_bytes()[begin:].decode(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "no output")
    if code == OUT_OF_TIME:
        return {"status": "cut", "reason": last}
    return {"status": "failed", "reason": f"exit status {code}: {last}"}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and those that it started; it has `GRACE` seconds to end itself."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
