"""Ctrl-C and SIGTERM: the first saves and stops, the second stops at once.

A signal to one of several processes stops all of them.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
RESUME = "run the same command to resume"
_received: list[int] = []  # signals of this process
_postponing: list[bool] = []  # one entry per open `postponed` block


class Interrupted(BaseException):
    """A signal stopped the process: `saved` names what it saved, `status` is the exit status."""

    def __init__(self, saved: str = ""):
        super().__init__(saved)
        self.saved = saved
        # The shells' convention; without a signal here, another process received one.
        self.status = 128 + (_received[0] if _received else signal.SIGTERM)


@contextmanager
def handled() -> Iterator[None]:
    """Within the block a first signal raises Interrupted, or waits for the end of `postponed`.

    Where Python discards exceptions, as in callbacks of its garbage collector, the signal takes
    effect silently at the next `postponed`.

    A second signal ends the process at once: a thread receives it even while the main thread runs
    compiled code, where Python's own handlers have to wait.
    """
    ours, other = socket.socketpair()
    other.setblocking(False)
    threading.Thread(target=_stop_at_the_second, args=(ours,), daemon=True).start()
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(other.fileno(), warn_on_full_buffer=False)
    hook = sys.unraisablehook

    def on_discarded(exception: Any) -> None:
        if not isinstance(exception.exc_value, Interrupted):
            hook(exception)

    sys.unraisablehook = on_discarded
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        other.close()
        _received.clear()


@contextmanager
def postponed() -> Iterator[Callable[[], bool]]:
    """Postpones a stop, so that the block can save; yields a function: whether to stop.

    Raises:
        Interrupted: at the end of a block that did not raise it itself.
    """
    from experiments.system import processes

    _postponing.append(True)
    try:
        yield lambda: processes.anywhere(bool(_received))
    finally:
        _postponing.pop()
    if _received and not _postponing:
        raise Interrupted


def _on_signal(number: int, _: FrameType | None) -> None:
    _received.append(number)
    if not _postponing:
        raise Interrupted


def _stop_at_the_second(wakeups: socket.socket) -> None:
    """Reads signal numbers as bytes, until the other end is closed."""
    seen = 0
    while numbers := wakeups.recv(1):
        seen += numbers[0] in SIGNALS
        if seen == 2:
            os._exit(128 + numbers[0])
    wakeups.close()
