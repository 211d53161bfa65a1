"""How much fits a device's memory: what is free there, and what a program takes of it."""

import os
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import Jaxpr, Var, jaxprs_in_params

HELD = 2  # times `peak_bytes` that our programs take: XLA on CPUs took 0.4 (narrow windows) to 1.9


def free_bytes() -> int:
    """What is free on the fullest of this process's devices.

    GPUs and TPUs tell it; devices that do not are taken to share the machine's memory.
    """
    told = [device.memory_stats() for device in jax.local_devices()]
    if all(told):
        return min(stats["bytes_limit"] - stats["bytes_in_use"] for stats in told)
    return _free_on_machine() // len(told)


def machine_bytes() -> int:
    """All of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_on_machine() -> int:
    """What programs can still have of the machine's memory; elsewhere than on Linux, all of it."""
    about = Path("/proc/meminfo")
    if about.exists():
        sizes = dict(line.split(":") for line in about.read_text().splitlines())
        return int(sizes["MemAvailable"].split()[0]) * 1024
    return machine_bytes()


def peak_bytes(program: Jaxpr) -> int:
    """The most bytes of results that `program` holds at once; its inputs do not count.

    An estimate: each result is made as soon as what it needs is there, as XLA does it on CPUs, and
    held to its last use. What a compiler fuses, pads or copies is not seen.
    """
    made: dict[Var, int] = {}  # the step that makes each result
    last: dict[Var, int] = {}  # the step that uses it last
    inside: Counter[int] = Counter()  # what the programs within a step hold besides their results
    for equation in program.eqns:
        used = [v for v in equation.invars if isinstance(v, Var) and v in made]
        step = 1 + max((made[v] for v in used), default=0)
        made |= dict.fromkeys(equation.outvars, step)
        last |= {v: max(step, last.get(v, 0)) for v in used}
        inside[step] += max(map(_besides_results, jaxprs_in_params(equation.params)), default=0)
    end = max(made.values(), default=0)
    last |= {v: end for v in program.outvars if isinstance(v, Var) and v in made}
    change: Counter[int] = Counter()
    for variable, step in made.items():
        change[step] += _bytes(variable)
        change[last.get(variable, step) + 1] -= _bytes(variable)
    held = accumulate(change[step] for step in range(end + 1))
    return max(bytes_held + inside[step] for step, bytes_held in enumerate(held))


def _besides_results(program: Jaxpr) -> int:
    results = {v for v in program.outvars if isinstance(v, Var)} - set(program.invars)
    return peak_bytes(program) - sum(map(_bytes, results))


def _bytes(variable: Var) -> int:
    shaped: Any = variable.aval
    return shaped.size * shaped.dtype.itemsize
