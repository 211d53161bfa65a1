"""Several devices: one program whose arrays are sharded over a mesh; XLA adds the communication.

The mesh has two axes. "seed" splits arrays with a seed axis; "data" splits batches and windows,
with the parameters replicated. None stands for a single device.
"""

import math
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Split

SEED, DATA = "seed", "data"


def device_mesh(seeds: int = 1) -> Mesh | None:
    """A mesh of all devices of all processes; None for a single device.

    The seed axis is the longest that evenly divides `seeds`, and the data axis takes the rest: on 8
    devices, 4 seeds are split over 4 and each seed's batch over 2; 3 seeds are replicated and the
    batch is split over 8.
    """
    devices = jax.device_count()
    if devices == 1:
        return None
    split = math.gcd(seeds, devices)
    kind = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((split, devices // split), (SEED, DATA), axis_types=kind)


def place(tree: Any, mesh: Mesh | None, split: Split = Split()) -> Any:  # noqa: B008, immutable
    """Puts the arrays of a pytree onto all devices, replicated or `split`.

    All processes pass the same arrays.
    """
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, split)
    if mesh.is_multi_process:  # device_put rejects keys there, and compares all data
        return jax.jit(_same, out_shardings=sharding)(tree)
    return jax.device_put(tree, sharding)


def placed_shapes(shapes: Any, mesh: Mesh | None, split: Split) -> Any:
    """The shapes of a pytree's arrays, with the sharding that `place` gives them."""
    if mesh is None:
        return shapes
    sharding = NamedSharding(mesh, split)
    return jax.tree.map(lambda leaf: leaf.update(sharding=sharding), shapes)


def constrain(tree: Any, mesh: Mesh | None, split: Split) -> Any:
    """Constrains the traced arrays of a pytree to the sharding `split`."""
    if mesh is None:
        return tree
    within = jax.sharding.get_abstract_mesh()  # not empty inside `shard_map`
    return jax.lax.with_sharding_constraint(
        tree, NamedSharding(mesh if within.empty else within, split)
    )


def fetch(tree: Any, mesh: Mesh | None) -> Any:
    """Fetches the whole arrays of a pytree to the host, in every process."""
    if mesh is None:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def _same(tree: Any) -> Any:
    return tree
