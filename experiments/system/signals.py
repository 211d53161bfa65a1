"""Ctrl-C and SIGTERM: the first lets a chunk end and be saved, the second stops at once.

One to any of several processes stops all of them.
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
_received: list[int] = []  # of this process, as signals are
_postponing: list[bool] = []


class Interrupted(BaseException):
    """The process was asked to end: `kept` says what it saved, `status` what to exit with."""

    def __init__(self, kept: str = ""):
        super().__init__(kept)
        self.kept = kept
        # As shells expect; without a signal of its own another process had one.
        self.status = 128 + (_received[0] if _received else signal.SIGTERM)


@contextmanager
def handled() -> Iterator[None]:
    """Within the block a first signal raises Interrupted, or waits for the end of `postponed`.

    Where Python drops exceptions, as in callbacks of its garbage collector, it waits for the next
    `postponed` without a word.

    A second one ends the process at once, whatever it computes: a thread is told of signals while
    the main one is busy in compiled code, where Python's own handlers have to wait.
    """
    ours, other = socket.socketpair()
    other.setblocking(False)
    threading.Thread(target=_stop_at_the_second, args=(ours,), daemon=True).start()
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(other.fileno(), warn_on_full_buffer=False)
    hook = sys.unraisablehook

    def told(dropped: Any) -> None:
        if not isinstance(dropped.exc_value, Interrupted):
            hook(dropped)

    sys.unraisablehook = told
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
    """Lets the block reach a state worth keeping: it gets a function that says if it should end.

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
    """The numbers of signals arrive as bytes; no byte comes once the other end is closed."""
    seen = 0
    while numbers := wakeups.recv(1):
        seen += numbers[0] in SIGNALS
        if seen == 2:
            os._exit(128 + numbers[0])
    wakeups.close()
