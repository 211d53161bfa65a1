"""Cases, each a known amount of work, and the groups of cases that are measured together."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

# The names in this module are stored in result files.
DAWM_JAX = "dawm_jax"
JIT_PER_UPDATE = "jax, one jitted update a call"
TORCH = "PyTorch"
D3RLPY = "d3rlpy"
# The roofline: large matrix products, products of the size of the measured layers, memory copies.
PRODUCTS, LAYER_PRODUCTS, COPY = "matrix products", "products of the layers' size", "copy"
ROOFLINES = (PRODUCTS, LAYER_PRODUCTS, COPY)

FIRST_LOAD, SECOND_LOAD = "load, the first time", "load, the second time"
FIRST_STEP = "start to the first training step done"

Call = Callable[[int], float]


@dataclass(frozen=True)
class Case:
    """A known amount of work by one implementation.

    `call(count)` does the work `count` times and returns the seconds that takes, once it is done.
    """

    by: str  # the implementation
    work: Mapping[str, float]  # amounts in one call, by unit; the main unit first
    call: Call
    settings: dict[str, Any] = field(default_factory=dict)  # in addition to those of the group
    flops: float = 0.0  # in one call, by formula (flops.py); 0 if not counted
    traffic: float = 0.0  # bytes read and written in one call; 0 if not counted
    dtype: str = "float32"  # of the matrix products that set its peak
    warm_up: bool = True  # whether the first call compiles and is not a repetition
    process: int | None = None  # id of a worker process, whose CPU time is not a disturbance
    part_of: "Case | None" = None  # the preceding case that measures this part, at no extra cost

    @property
    def is_roofline(self) -> bool:
        return self.by in ROOFLINES


@dataclass(frozen=True)
class Group:
    """Cases that are measured in turn.

    `prepare` creates the cases; the resources they need are released with the stack.
    """

    suite: str
    name: str
    settings: dict[str, Any]
    prepare: Callable[[ExitStack], list[Case]]
    compared: bool = True  # whether all cases do the same kind of work, so that speedups mean much

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return f"{self.name} ({settings})" if settings else self.name


Groups = Iterator[Group]


def timed(function: Callable[[], Any]) -> Call:
    """The `call` of a case that runs `function` and waits for its arrays."""

    def call(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            jax.block_until_ready(function())
        return time.perf_counter() - started

    return call


def timed_steps(step: Callable[[Any], Any], state: Any) -> Call:
    """The `call` of a case that applies `step` to the state that the previous call returned.

    `step` may donate its argument, so the first state is copied.
    """
    carry = [jax.tree.map(jnp.copy, state)]

    def advance() -> Any:
        carry[0] = step(carry[0])
        return carry[0]

    return timed(advance)
