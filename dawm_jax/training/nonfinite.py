"""Which number of a training was not finite first."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dawm_jax.errors import NonFiniteError
from dawm_jax.types import Array

One = Callable[[Any, int], tuple[Any, dict[str, Array]]]


def first_failure(
    name: str, unit: int, one: One, state: Any, begin: int, end: int, seeds: bool
) -> NonFiniteError:
    """What is not finite first when updates that went wrong together are repeated one at a time.

    Args:
        name: what is trained.
        unit: updates that `one` makes.
        one: one(state, done) makes those after the first `done`, and gives their metrics.
        state: that after `begin` updates.
        end: the updates made in all.
        seeds: whether states and metrics have a seed axis.
    """
    first = state
    advice = "A lower learning rate may help; or look for extreme values in the data."
    for done in range(begin, end, unit):
        after, metrics = one(state, done)
        quantity = _not_finite(after, metrics, seeds)
        if quantity:
            last = done + unit
            when = f"update {last}" if unit == 1 else f"updates {done + 1} to {last}"
            message = f"{quantity} of {name} is not finite in {when}. {advice}"
            return NonFiniteError(message, done, state)
        state = after
    return NonFiniteError(
        f"something of {name} is not finite in updates {begin + 1} to {end}, in one compiled call "
        f"but not one at a time. {advice}",
        begin,
        first,
    )


def _not_finite(state: Any, metrics: dict[str, Array], seeds: bool) -> str | None:
    """The first metric, or else the first leaf of the state, that is not finite, and its seed."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    named = [*metrics.items(), *((f"state{jax.tree_util.keystr(p)}", leaf) for p, leaf in leaves)]
    for name, value in named:
        if not jnp.issubdtype(value.dtype, jnp.inexact) or jnp.isfinite(value).all():
            continue
        if not seeds:
            return f"'{name}'"
        by_seed = jnp.isfinite(value).reshape(len(value), -1).all(1)
        return f"'{name}' (seed {int(jnp.argmin(by_seed))}, counted from 0)"
    return None
