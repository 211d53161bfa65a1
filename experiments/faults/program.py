"""A run in a process of its own, watched, so that it can be hurt at a chosen moment."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

BEGINS = re.compile(r"(recording|data|[\w-]+(?=: \d+ to do)|Final policies)")
TIMEOUT = 900.0  # seconds after which a run is taken to hang


class Program:
    """A started run and what it printed, each line with the seconds since the start."""

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
            start_new_session=True,  # a group of its own, to look for processes that it left
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

    def begins(self) -> dict[str, float]:
        """When each part of the run began, in order."""
        found: dict[str, float] = {}
        for seconds, line in list(self.lines):
            match = BEGINS.match(line)
            if match:
                found.setdefault(match[0], seconds)
        return found

    def moment(self) -> dict[str, Any]:
        """The part of the run that it is in, or ended in, and the seconds since the start."""
        name = next(reversed(self.begins()), "start")
        return {"in": name, "after seconds": round(time.monotonic() - self.started, 2)}

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Waits for a condition; says whether it came before the end of the run."""
        while time.monotonic() - self.started < TIMEOUT:
            if condition():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.005)
        raise TimeoutError(f"a run hangs:\n{self.output}")

    def wait(self) -> int:
        """Waits for the end; returns the exit status, negative for a signal."""
        self.reader.join(TIMEOUT)
        return self.process.wait(TIMEOUT)

    def kill(self) -> list[str]:
        """Kills the run's main process; returns the processes that outlive it, if any do."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT)
        deadline = time.monotonic() + 120.0  # a process that is still importing ends after that
        while self._left() and time.monotonic() < deadline:
            time.sleep(0.05)
        left = self._left()
        if left:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.reader.join(TIMEOUT)
        return left

    def _left(self) -> list[str]:
        listed = subprocess.run(
            ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
        )
        rows = [row.split(maxsplit=2) for row in listed.stdout.splitlines()]
        group = str(self.process.pid)
        return [row[2] for row in rows if row[0] == group and not row[1].startswith("Z")]
