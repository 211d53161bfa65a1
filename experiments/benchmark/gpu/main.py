"""`--campaign=gpu`: the steps, the table of what they measured, and the exit status."""

import json
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from experiments.benchmark.campaign import RESULTS
from experiments.benchmark.gpu.correctness import describe
from experiments.benchmark.gpu.schedule import run_steps, worker
from experiments.benchmark.gpu.steps import SMOKE_STEPS, STEPS
from experiments.benchmark.table import tables
from experiments.system.machine import check_writable


def run_campaign(minutes: float, smoke: bool, out: Path | None) -> int:
    """Runs the campaign and prints what it found.

    Returns:
        The exit status: 0 unless a step failed or the checks were not all made and passed.

    Raises:
        UserError: the result file cannot be written.
    """
    out = out or RESULTS / f"gpu-campaign-{datetime.now(UTC):%Y-%m-%d}.json"
    check_writable(out.parent)
    if smoke:  # compilation takes a fourth of the time
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    entries = run_steps(SMOKE_STEPS if smoke else STEPS, minutes, out, partial(worker, smoke=smoke))
    files = [out.with_name(entry["file"]) for entry in entries if entry.get("file")]
    found = [json.loads(file.read_text()) for file in files]
    runs = [results for results in found if "rows" in results]
    if runs:
        print(tables(runs))
    for results in found:
        for row in results.get("checks", ()):
            print(describe(row))
    print(f"\nwritten to {out} and {', '.join(file.name for file in files) or 'no other file'}")
    status = {entry["step"]: entry["status"] for entry in entries}
    return int("failed" in status.values() or status["correctness"] != "done")
