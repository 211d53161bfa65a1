"""New states, and how they are made while what will use them is compiled."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
from jax.stages import Lowered
from jax.tree_util import Partial


@jax.jit
def made(new: Partial) -> Any:
    """What `new` makes; by one program, where each array by itself would be one to compile."""
    return new()


def made_beside(new: Partial, *users: Callable[[Any], Lowered]) -> Any:
    """What `new` makes; the program for that and those of the users are compiled side by side.

    Args:
        users: take the shapes of what is made, and lower a program that will be called with it.
    """
    making, shapes = made.lower(new), jax.eval_shape(made, new)
    with ThreadPoolExecutor() as threads:
        state = threads.submit(lambda: making.compile()(new))
        programs = [threads.submit(lower(shapes).compile) for lower in users]
        for program in programs:
            program.result()
        return state.result()
