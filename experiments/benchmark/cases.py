"""What is measured: cases, each a known amount of work, and the groups that compare them."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import jax

OURS = "dawm_jax"
# The roofs: arithmetic, that of products no larger than the layers of what is measured, and memory.
PRODUCTS, ALIKE, COPY = "matrix products", "products of the layers' size", "copy"
ROOFS = (PRODUCTS, ALIKE, COPY)
ONE_BY_ONE = "jax, one jitted update a call"
TORCH = "PyTorch"
D3RLPY = "d3rlpy"

# What rows that have a bar are called.
FIRST_LOAD, SECOND_LOAD = "load, the first time", "load, the second time"
FIRST_STEP = "start to the first training step done"


@dataclass(frozen=True)
class Case:
    """One thing that does a known amount of work.

    `call(count)` does the work `count` times, returns when it is done, and says how many seconds
    that took.
    """

    by: str  # whose code it is: OURS, a peer's, or a roof's
    work: dict[str, float]  # what one call does: units and their number, the main one first
    call: Callable[[int], float]
    settings: dict[str, Any] = field(default_factory=dict)  # beside those of the group
    flops: float | None = None  # of one call, by a formula (flops.py)
    moved: float | None = None  # bytes of one call, where memory may be the limit
    dtype: str = "float32"  # of the products that set its peak
    warm_up: bool = True  # whether a first call, which compiles, is told apart
    process: int | None = None  # of a worker, whose CPU time is no disturbance
    part_of: "Case | None" = None  # the case before it, of which this is told at no cost

    @property
    def is_roof(self) -> bool:
        return self.by in ROOFS


@dataclass(frozen=True)
class Group:
    """Cases that are measured in turn. `prepare` makes them; what they need ends with the stack."""

    suite: str
    name: str
    settings: dict[str, Any]
    prepare: Callable[[ExitStack], list[Case]]
    compared: bool = True  # whether the others do what the first one does

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return f"{self.name} ({settings})" if settings else self.name


Groups = Iterator[Group]


def blocking(function: Callable[[], Any]) -> Callable[[int], float]:
    """A `call` for a case: `function`, waited for each time."""

    def call(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            jax.block_until_ready(function())
        return time.perf_counter() - started

    return call


def carrying(step: Callable[[Any], Any], state: Any) -> Callable[[int], float]:
    """A `call` for a case: `step`, which takes the state that it returned the last time."""
    carry = [state]

    def call() -> Any:
        carry[0] = step(carry[0])
        return carry[0]

    return blocking(call)
