"""Where the numbers of a run go while it runs: JSON lines, TensorBoard and the terminal."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter


class MetricWriter:
    """Metrics as TensorBoard events and JSON lines: {stage, step, name: value, or one a seed}."""

    def __init__(self, workdir: Path):
        self.file = (workdir / "metrics.jsonl").open("a")
        self.board = SummaryWriter(str(workdir / "tensorboard"))

    def write(self, stage: str, step: int, metrics: dict[str, Any]) -> None:
        """Metrics are scalars, or arrays with a value a seed, of which the board shows the mean."""
        values = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
        line = {"stage": stage, "step": step, **{k: v.tolist() for k, v in values.items()}}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.board.add_scalar(f"{stage}/{name}", value.mean(), step)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.board.close()


class StageProgress:
    """One stage on the terminal: a bar with rate, loss and time left; elsewhere plain lines."""

    def __init__(self, stage: str, total: int, done: int = 0, seconds_between_lines: float = 15.0):
        self.stage, self.total, self.first = stage, total, done
        self.between = seconds_between_lines
        self.started = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        self.task = TaskID(0)
        if sys.stdout.isatty():
            columns = [
                TextColumn("{task.description:28}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
            ]
            self.bar = Progress(*columns, TimeRemainingColumn(), console=Console())
            self.task = self.bar.add_task(stage, total=total, completed=done, text="compiling")

    def __enter__(self) -> "StageProgress":
        if self.bar:
            self.bar.start()
        else:
            print(f"{self.stage}: {self.total} to do", flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, text: str = "") -> None:
        """`done` of the total, with a word such as the loss."""
        now = time.monotonic()
        rate = (done - self.first) / max(now - self.started, 1e-9)
        if self.bar:
            self.bar.update(self.task, completed=done, text=f"{rate:,.0f}/s  {text}")
        elif now - self.last_line >= self.between or done >= self.total:
            left = max(self.total - done, 0) / max(rate, 1e-9)
            print(
                f"{self.stage}: {done}/{self.total}  {rate:,.0f}/s  {text}  {left:.0f} s left",
                flush=True,
            )
            self.last_line = now
