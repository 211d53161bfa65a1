"""Reports the first quantity of a training run that is not finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.errors import NonFiniteError
from dawm_jax.types import AnyArray, Array

ADVICE = "Lower the learning rate, or look for extreme values in the data."


def nonfinite_error(
    name: str, state: Any, metrics: dict[str, Array], begin: int, end: int, seeds: bool
) -> NonFiniteError:
    """The error for the updates `begin` .. `end`, which gave a value that is not finite.

    Args:
        name: the component being trained.
        state: the state after the last of these updates.
        metrics: the metrics of each step, ([seeds,] steps).
        seeds: whether states and metrics have a leading seed axis.
    """
    finite = {key: np.isfinite(np.asarray(value)) for key, value in metrics.items()}
    by_step = {key: good.all(axis=0) if seeds else good for key, good in finite.items()}
    steps = np.stack(list(by_step.values()))
    if not steps.all():
        step = int(np.argmin(steps.all(axis=0)))
        key = next(key for key, good in by_step.items() if not good[step])
        unit = (end - begin) // steps.shape[1]
        first, last = begin + step * unit + 1, begin + (step + 1) * unit
        quantity = _of_seed(f"'{key}'", finite[key][:, step] if seeds else None)
    else:
        first, last = begin + 1, end
        quantity = _nonfinite_leaf(state, seeds) or "the mean of a metric"
    when = f"update {last}" if first == last else f"updates {first} to {last}"
    return NonFiniteError(f"{quantity} of {name} is not finite in {when}. {ADVICE}")


def _nonfinite_leaf(state: Any, seeds: bool) -> str | None:
    """The first leaf of the state that is not finite; on a mesh, each process has only a part."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        finite = jnp.isfinite(leaf)
        if not finite.all():
            quantity = f"'state{jax.tree_util.keystr(path)}'"
            return _of_seed(quantity, finite.reshape(len(leaf), -1).all(1) if seeds else None)
    return None


def _of_seed(quantity: str, finite: AnyArray | None) -> str:
    return quantity if finite is None else f"{quantity} (seed {int(finite.argmin())} of the run)"
