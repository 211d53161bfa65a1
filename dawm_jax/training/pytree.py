"""What is asked of all the leaves of a tree, in programs that are small to compile.

Leaves of one shape are put together element by element: a reduction for each shape, not each leaf.
"""

from collections import defaultdict
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from dawm_jax.types import Array


@jax.jit
def all_finite(tree: Any) -> Array:
    """Whether every floating-point number of a tree is finite."""
    groups = _by_shape(tree)
    return jnp.array([reduce(jnp.logical_and, map(jnp.isfinite, g)).all() for g in groups]).all()


def norm(tree: Any) -> Array:
    """The square root of the sum of the squares of a tree's floating-point numbers."""
    return jnp.sqrt(sum(jnp.sum(reduce(jnp.add, map(jnp.square, g))) for g in _by_shape(tree)))


def _by_shape(tree: Any) -> list[list[Array]]:
    """The floating-point leaves of a tree, those of one shape and dtype together."""
    groups = defaultdict(list)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            groups[leaf.shape, leaf.dtype].append(leaf)
    return list(groups.values())
