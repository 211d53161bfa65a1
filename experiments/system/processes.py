"""Several processes as one run: all make the same calls, and the first one decides.

Each computes its share of the sharded arrays. The first writes files and takes decisions, in
`on_first`, which broadcasts the result. A single process is the first, at no cost.
"""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from dawm_jax.errors import UserError, require

Result = TypeVar("Result")
PATIENCE = 60  # seconds that an ending process waits for the others
_joined: list[bool] = []  # not empty if there are several processes


def join(coordinator: str | None, processes: int | None, process: int | None, find: bool) -> bool:
    """Joins the other processes, before any device is used; returns whether there are any.

    Args:
        coordinator: host:port of the first process; given together with the number of
            `processes` and the index of this one, or none of the three for a single process.
        find: take the three from SLURM, Open MPI or a TPU pod.

    Raises:
        UserError: an argument is missing or wrong, or the other processes are not found.
    """
    if not find and (coordinator, processes, process) == (None, None, None):
        return False
    if find:
        require(
            (coordinator, processes, process) == (None, None, None),
            "--distributed sets --coordinator, --processes and --process: leave them out",
        )
    else:
        _check(coordinator, processes, process)
    # Otherwise JAX catches SIGTERM, which the run handles itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator, processes, process, shutdown_timeout_seconds=PATIENCE
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        advice = "set --coordinator, --processes and --process" if find else "start all of them"
        raise UserError(f"the processes cannot connect: {advice} ({reason})") from error
    _joined.append(True)
    return True


def _check(coordinator: str | None, processes: int | None, process: int | None) -> None:
    if coordinator is None or processes is None or process is None:
        given = {"coordinator": coordinator, "processes": processes, "process": process}
        missing = next(name for name, value in given.items() if value is None)
        raise UserError(
            f"--{missing} is missing: set --coordinator=host:port of the first process, "
            "--processes and --process, or on SLURM and TPU pods --distributed alone"
        )
    host, _, port = coordinator.rpartition(":")
    require(
        bool(host) and port.isdigit(),
        f"--coordinator is '{coordinator}'; it must be host:port of the first process",
    )
    require(
        0 <= process < processes,
        f"--process is {process}; with --processes={processes} it must be from 0 to "
        f"{processes - 1}",
    )


def is_first() -> bool:
    """Whether this process writes files and decides."""
    return not _joined or jax.process_index() == 0


def on_first(function: Callable[..., Result], *args: Any) -> Result:
    """Calls `function` in the first process alone, and returns its result in all of them.

    Raises:
        UserError: in the others, if it raises in the first.
    """
    if not _joined:
        return function(*args)
    result, failure = None, None
    if is_first():
        try:
            result = function(*args)
        except Exception as error:
            failure = error
    result, problem = _agreed((result, failure and f"{type(failure).__name__}: {failure}"))
    if failure:
        raise failure
    require(problem is None, f"the first process failed with {problem}")
    return result


def after_first(function: Callable[[], Result]) -> Result:
    """Calls `function` in every process, in the first one before the others."""
    own: list[Result] = []
    on_first(lambda: own.append(function()))
    return own[0] if own else function()


def anywhere(flag: bool) -> bool:
    """Whether `flag` holds in any process."""
    if not _joined:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def _agreed(value: Any) -> Any:
    """Broadcasts the value of the first process."""
    content = pickle.dumps(value) if is_first() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.uint32(len(content))))
    padded = np.zeros(1 << size.bit_length(), np.uint8)  # few sizes, because each is compiled
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    return pickle.loads(multihost_utils.broadcast_one_to_all(padded)[:size].tobytes())
