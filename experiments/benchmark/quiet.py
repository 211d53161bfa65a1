"""Whether the machine did anything else meanwhile: CPU time that is not of this benchmark."""

import os
from collections.abc import Iterable
from pathlib import Path

from experiments.system.machine import cores

TICK = os.sysconf("SC_CLK_TCK")
SHARE = 0.03  # of the cores' time that others may take
TICKS = 5  # that a short repetition may lose to rounding


class Watch:
    """From its making on, counts the CPU seconds of others on the cores of this process."""

    def __init__(self, workers: Iterable[int] = ()):
        self.workers = list(workers)
        self.started = self._others()

    def disturbed(self, seconds: float) -> bool:
        """Whether others took too much of the `seconds` since; never where it cannot be told."""
        if self.started is None:
            return False
        others = self._others() - self.started
        return others > SHARE * seconds * len(cores()) + TICKS / TICK

    def _others(self) -> float | None:
        busy = _busy_seconds()
        if busy is None:
            return None
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return busy - own - sum(_cpu_seconds(process) for process in self.workers)


def _busy_seconds() -> float | None:
    """CPU seconds spent on our cores since the machine's start, those of the host included.

    None where the system does not tell, as macOS.
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    ours = {f"cpu{core}" for core in cores()}
    total = 0
    for line in stat.read_text().splitlines():
        name, *ticks = line.split()
        if name in ours:
            user, nice, system, _idle, _wait, irq, softirq, steal, *_guests = map(int, ticks)
            total += user + nice + system + irq + softirq + steal
    return total / TICK


def _cpu_seconds(process: int) -> float:
    """CPU seconds of a process and of its ended children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK
