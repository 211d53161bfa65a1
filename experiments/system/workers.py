"""Work in processes of their own, which never outlive the one that they work for."""

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
    """What `function` returns for each of the tasks, as many at once as there are cores.

    Raises:
        UserError: a process was killed.
    """
    workers = min(len(tasks), os.cpu_count() or 1)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        try:
            # A pool that a signal breaks off half started would never end.
            with postponed(), _signals_kept_from_children():
                # Not `pool.map`, which cancels tasks: Python 3.11 shows a traceback of that here.
                made = [pool.submit(function, *task) for task in tasks]
            return [future.result() for future in made]
        except BrokenProcessPool:
            raise UserError(
                "a process that recorded was killed, perhaps for want of memory; nothing is "
                "recorded, and the same command begins again"
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                process.kill()  # or the pool waits for the end of their tasks
            raise


@contextmanager
def _signals_kept_from_children() -> Iterator[None]:
    """Processes started in the block never see a signal of a terminal: their parent decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
