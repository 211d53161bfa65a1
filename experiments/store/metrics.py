"""Metrics of a running run: JSON lines, TensorBoard and the terminal."""

import json
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from experiments.store.files import append_line, locked, write_text
from experiments.store.stage import Stage
from experiments.system.processes import on_first


class StageMetrics:
    """The metrics of one stage: lines of metrics.jsonl and a TensorBoard run.

    Lines after the last checkpoint of an interrupted run, at step `done`, are dropped. Processes
    with other stages of the same run may write at the same time.
    """

    def __init__(self, workdir: Path, stage: Stage, done: int):
        self.labels = {"stage": stage.name, "fingerprint": stage.fingerprint}
        self.path = workdir / "metrics.jsonl"
        self.board: EventsWriter | None = None
        on_first(self._open, done)

    def _open(self, done: int) -> None:
        with self._locked():
            text = self.path.read_text() if self.path.exists() else ""
            whole = text[: text.rfind("\n") + 1]  # a killed process may have left half a line
            lines = whole.splitlines(keepends=True)
            valid = "".join(line for line in lines if not self._repeated(json.loads(line), done))
            if valid != text:
                write_text(self.path, valid)
        folder = self.path.with_name("tensorboard") / "{stage}-{fingerprint}".format(**self.labels)
        folder.mkdir(parents=True, exist_ok=True)
        # Not a SummaryWriter, whose thread swallows the error of a full disk.
        self.board = EventsWriter(str(folder / "events"))
        start = SessionLog(status=SessionLog.START)
        self.board.write_event(Event(wall_time=time.time(), step=done + 1, session_log=start))

    def _repeated(self, line: dict[str, Any], done: int) -> bool:
        return self.labels.items() <= line.items() and line["step"] > done

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.path.with_name("metrics.lock"), "metrics.jsonl")

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Writes scalars, or arrays with a value per seed, of which TensorBoard shows the mean."""
        on_first(self._write, step, metrics)

    def _write(self, step: int, metrics: dict[str, Any]) -> None:
        values = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
        line = {**self.labels, "step": step, **{k: v.tolist() for k, v in values.items()}}
        with self._locked():
            append_line(self.path, json.dumps(line))
        assert self.board  # opened by the first process, which is this one
        for name, value in values.items():
            summary = scalar(name, value.mean())
            self.board.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        self.board.flush()

    def __enter__(self) -> "StageMetrics":
        return self

    def __exit__(self, *_: object) -> None:
        if self.board:
            self.board.close()


class StageProgress:
    """The progress of a stage: on a terminal a bar with rate, loss and time left, else lines."""

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

    def update(self, done: int, text: str = "", rate: float | None = None) -> None:
        """Shows `done` of the total, a text such as the loss, and a rate (default: the average)."""
        now = time.monotonic()
        rate = rate or (done - self.first) / max(now - self.started, 1e-9)
        if self.bar:
            self.bar.update(self.task, completed=done, text=f"{rate:,.0f}/s  {text}")
        elif now - self.last_line >= self.between or done >= self.total:
            left = max(self.total - done, 0) / max(rate, 1e-9)
            print(
                f"{self.stage}: {done}/{self.total}  {rate:,.0f}/s  {text}  {left:.0f} s left",
                flush=True,
            )
            self.last_line = now
