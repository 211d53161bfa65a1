"""Worker processes, which never outlive their parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from dawm_jax.errors import UserError
from experiments.system.signals import SIGNALS, postponed


def in_processes(function: Callable[..., Any], tasks: list[tuple[Any, ...]]) -> list[Any]:
    """Calls `function` with each of the tasks, in as many processes as there are cores.

    Raises:
        UserError: a process was killed.
    """
    workers = min(len(tasks), os.cpu_count() or 1)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        try:
            # A pool interrupted while it starts would never end.
            with postponed(), _signals_kept_from_children():
                # Not `pool.map`, which cancels tasks: Python 3.11 prints a traceback then.
                futures = [pool.submit(function, *task) for task in tasks]
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise UserError(
                "a recording process was killed, possibly out of memory. Nothing is recorded; run "
                "the same command to start again"
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                process.kill()  # otherwise the pool waits for their tasks
            raise


@contextmanager
def _signals_kept_from_children() -> Iterator[None]:
    """Shields processes started in the block from a terminal's signals: their parent decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
