"""How much fits a device's memory: what is free there, and what a program takes of it."""

import os
from pathlib import Path

import jax
from jax.extend.core import Jaxpr, Var, jaxprs_in_params

HELD = 6  # times `peak_bytes` that a program of ours takes: XLA on CPUs was seen to take 3 to 9


def free_bytes() -> int:
    """What is free on the fullest of this process's devices.

    GPUs and TPUs tell it; devices that do not are taken to share the machine's memory.
    """
    told = [device.memory_stats() for device in jax.local_devices()]
    if all(told):
        return min(stats["bytes_limit"] - stats["bytes_in_use"] for stats in told)
    return _machine_bytes() // len(told)


def _machine_bytes() -> int:
    """What programs can still have of the machine's memory; elsewhere than on Linux, all of it."""
    about = Path("/proc/meminfo")
    if about.exists():
        sizes = dict(line.split(":") for line in about.read_text().splitlines())
        return int(sizes["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(program: Jaxpr) -> int:
    """The most bytes of results that `program` holds at once, each from its making to its last use.

    An estimate: a compiler orders and fuses what is taken here as it stands. Inputs do not count.
    """
    last = {v: i for i, e in enumerate(program.eqns) for v in e.invars if isinstance(v, Var)}
    last |= {v: len(program.eqns) for v in program.outvars if isinstance(v, Var)}
    held: dict[Var, int] = {}
    most = 0
    for i, equation in enumerate(program.eqns):
        made = {v: v.aval.size * v.aval.dtype.itemsize for v in equation.outvars}
        inside = [peak_bytes(part) for part in jaxprs_in_params(equation.params)]
        most = max(most, sum(held.values()) + max(sum(made.values()), *inside, 0))
        held = {v: size for v, size in (held | made).items() if last.get(v, i) > i}
    return most
