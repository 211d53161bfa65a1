"""Reductions over a pytree, as programs that compile quickly.

Leaves of equal shape are combined elementwise: one reduction per shape, not per leaf.
"""

from collections import defaultdict
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from dawm_jax.types import Array


@jax.jit
def all_finite(tree: Any) -> Array:
    """Whether every floating-point number of a pytree is finite."""
    groups = _by_shape(tree)
    return jnp.array([reduce(jnp.logical_and, map(jnp.isfinite, g)).all() for g in groups]).all()


def norm(tree: Any) -> Array:
    """The global L2 norm of a pytree's floating-point leaves."""
    return jnp.sqrt(sum(jnp.sum(reduce(jnp.add, map(jnp.square, g))) for g in _by_shape(tree)))


def _by_shape(tree: Any) -> list[list[Array]]:
    """The floating-point leaves of a pytree, grouped by shape and dtype."""
    groups = defaultdict(list)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            groups[leaf.shape, leaf.dtype].append(leaf)
    return list(groups.values())
