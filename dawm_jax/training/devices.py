"""Devices side by side: one program, its arrays split over a mesh; XLA adds what passes between.

The mesh has two axes. "seed" splits what has a seed axis; "data" splits batches and windows, and
every device of it holds the parameters. None stands for a single device.
"""

import math
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Split

SEED, DATA = "seed", "data"


def device_mesh(seeds: int = 1) -> Mesh | None:
    """All devices of all processes: as many as fit `seeds` on its axis, the others on the data's.

    4 seeds on 8 devices are split over 4 of them, and each seed's batch over 2; 3 seeds are on
    every device, and the batch over 8. A single device needs no mesh.
    """
    devices = jax.device_count()
    if devices == 1:
        return None
    split = math.gcd(seeds, devices)
    kind = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((split, devices // split), (SEED, DATA), axis_types=kind)


def place(tree: Any, mesh: Mesh | None, split: Split = Split()) -> Any:  # noqa: B008, immutable
    """The arrays of a tree on every device, whole or `split`. All processes give the same ones."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, split)
    if mesh.is_multi_process:  # where device_put takes no keys, and sends data round to compare
        return jax.jit(_same, out_shardings=sharding)(tree)
    return jax.device_put(tree, sharding)


def placed_shapes(shapes: Any, mesh: Mesh | None, split: Split) -> Any:
    """The shapes of a tree's arrays once they are `place`d."""
    if mesh is None:
        return shapes
    sharding = NamedSharding(mesh, split)
    return jax.tree.map(lambda leaf: leaf.update(sharding=sharding), shapes)


def constrain(tree: Any, mesh: Mesh | None, split: Split) -> Any:
    """The traced arrays of a tree, computed where `split` has them."""
    if mesh is None:
        return tree
    within = jax.sharding.get_abstract_mesh()  # in `shard_map`, the mesh that knows of it
    return jax.lax.with_sharding_constraint(
        tree, NamedSharding(mesh if within.empty else within, split)
    )


def fetch(tree: Any, mesh: Mesh | None) -> Any:
    """The arrays of a tree on the host, whole, in every process."""
    if mesh is None:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def _same(tree: Any) -> Any:
    return tree
