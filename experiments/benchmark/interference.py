"""Detects whether other processes use the CPU during a measurement."""

import os
from collections.abc import Iterable
from pathlib import Path

from experiments.system.machine import cores

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
TOLERATED_SHARE = 0.03  # of the cores' time
TOLERATED_TICKS = 5  # in addition, as /proc/stat rounds


class CpuMonitor:
    """Counts the CPU seconds of other processes on this process's cores since its creation.

    `workers` are the ids of processes that take part in the measurement.
    """

    def __init__(self, workers: Iterable[int] = ()):
        self.workers = list(workers)
        self.started = self._others()

    def disturbed(self, seconds: float) -> bool:
        """Whether others used too much of the last `seconds`; False where that is unknown."""
        now = self._others()
        if now is None or self.started is None:
            return False
        tolerated = TOLERATED_SHARE * seconds * len(cores()) + TOLERATED_TICKS / TICKS_PER_SECOND
        return now - self.started > tolerated

    def _others(self) -> float | None:
        busy = _busy_seconds()
        if busy is None:
            return None
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return busy - own - sum(_cpu_seconds(process) for process in self.workers)


def _busy_seconds() -> float | None:
    """CPU seconds used on this process's cores since boot, including those stolen by the host.

    None on systems without /proc, such as macOS.
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    names = {f"cpu{core}" for core in cores()}
    total = 0
    for line in stat.read_text().splitlines():
        name, *ticks = line.split()
        if name in names:
            user, nice, system, _idle, _wait, irq, softirq, steal, *_guests = map(int, ticks)
            total += user + nice + system + irq + softirq + steal
    return total / TICKS_PER_SECOND


def _cpu_seconds(process: int) -> float:
    """CPU seconds of a process and of its terminated children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_SECOND
