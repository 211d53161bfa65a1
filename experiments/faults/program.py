"""A run in a process of its own, whose output tells which part it is in."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from experiments.faults.messages import PART_START

TIMEOUT = 900.0  # seconds after which a run counts as hung
EXIT_TIMEOUT = 120.0  # seconds for the children of a killed run to exit; imports delay them


class Program:
    """A started run and its output, each line with the seconds since the start."""

    def __init__(self, arguments: list[str], environment: dict[str, str]):
        command = [sys.executable, "-u", "-m", "experiments.main", *arguments]
        self.lines: list[tuple[float, str]] = []
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # its process group identifies the processes it leaves behind
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append((time.monotonic() - self.started, line.rstrip("\n")))

    @property
    def output(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def part_starts(self) -> dict[str, float]:
        """The seconds at which each part of the run started, in order."""
        found: dict[str, float] = {}
        for seconds, line in list(self.lines):
            match = PART_START.match(line)
            if match:
                found.setdefault(match[0], seconds)
        return found

    def moment(self) -> dict[str, Any]:
        """The current or last part of the run, and the seconds since the start."""
        part = next(reversed(self.part_starts()), "start")
        return {"in": part, "after seconds": round(time.monotonic() - self.started, 2)}

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Waits for a condition; returns False if the run ends first.

        Raises:
            TimeoutError: neither happens.
        """
        while time.monotonic() - self.started < TIMEOUT:
            if condition():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.005)
        raise TimeoutError(f"a run hangs after {TIMEOUT:.0f} s:\n{self.output}")

    def wait(self) -> int:
        """Waits for the end; returns the exit status, which is negative after a signal."""
        self.reader.join(TIMEOUT)
        return self.process.wait(TIMEOUT)

    def kill(self) -> list[str]:
        """Kills the main process; returns the commands of the processes that outlive it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT)
        deadline = time.monotonic() + EXIT_TIMEOUT
        while self._survivors() and time.monotonic() < deadline:
            time.sleep(0.05)
        survivors = self._survivors()
        if survivors:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.reader.join(TIMEOUT)
        return survivors

    def _survivors(self) -> list[str]:
        listed = subprocess.run(
            ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
        )
        rows = [row.split(maxsplit=2) for row in listed.stdout.splitlines()]
        group = str(self.process.pid)
        return [row[2] for row in rows if row[0] == group and not row[1].startswith("Z")]
