"""The limits of the machine, measured: large matrix products, and a copy through memory.

Of several accelerators each does so at the same time; a processor's cores share one.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp

from dawm_jax.training.devices import DATA, SEED, NamedSharding, Split, place
from experiments.benchmark.cases import ALIKE, COPY, PRODUCTS, Case, blocking, carrying
from experiments.benchmark.scope import Scope
from experiments.system.machine import training_mesh

UNROLLED = 500  # products of a chain in one piece: more take long to compile


def roofs(
    scope: Scope, *dtypes: str, copy: bool = False, layer: tuple[int, int] | None = None
) -> list[Case]:
    """The cases that a group is held against: large products of each dtype, and a copy.

    Args:
        layer: rows and width of a product of the group's own, of which there is a case too.
    """
    shapes, flops = scope.products, scope.flops_a_call
    products = [_products(dtype, shapes, flops) for dtype in dtypes]
    alike = [_chain(ALIKE, dtype, *layer, flops) for dtype in dtypes] if layer else []
    return products + alike + ([_copy(scope.copied)] if copy else [])


@cache
def _products(dtype: str, shapes: tuple[tuple[int, int], ...], flops: float) -> Case:
    """The fastest of chains of products, (rows, width) times (width, width)."""
    cases = [_chain(PRODUCTS, dtype, rows, width, flops) for rows, width in shapes]
    for case in cases:
        case.call(1)  # compiles
    return max(cases, key=lambda case: case.flops / case.call(1))


def _chain(by: str, dtype: str, rows: int, width: int, flops: float) -> Case:
    rows, flops = rows * devices(), flops * devices()
    one = 2.0 * rows * width * width
    pieces = max(1, round(flops / one / UNROLLED))
    each = max(1, round(flops / one / pieces))
    keys = jax.random.split(jax.random.key(0))
    x = _split(lambda: jax.random.normal(keys[0], (rows, width), dtype))
    # Of norm-preserving scale, so that the chain neither overflows nor slows down on tiny numbers.
    w = jax.random.normal(keys[1], (width, width), dtype) / jnp.asarray(width, dtype) ** 0.5
    w = place(w, training_mesh(None))

    @jax.jit
    def products(x: jax.Array, w: jax.Array) -> jax.Array:
        def piece(_: int, x: jax.Array) -> jax.Array:
            for _ in range(each):
                x = x @ w
            return x

        return jax.lax.fori_loop(0, pieces, piece, x)

    return Case(
        by=by,
        work={"products": pieces * each},
        call=blocking(lambda: products(x, w)),
        settings={"rows": rows, "width": width, "dtype": dtype},
        flops=pieces * each * one,
        dtype=dtype,
    )


@cache
def _copy(size: int) -> Case:
    """Each device reads and writes `size` bytes, in place, as new pages would cost extra."""
    size *= devices()
    step: Callable[[jax.Array], jax.Array] = jax.jit(lambda x: x + 1.0, donate_argnums=0)
    return Case(
        by=COPY,
        work={"bytes": 2.0 * size},
        call=carrying(step, _split(lambda: jnp.zeros(size // 4))),
        settings={"copied": size},
        moved=2.0 * size,
    )


def devices() -> int:
    """How many share the batches of one model, each with all of its parameters."""
    mesh = training_mesh(None)
    return mesh.size if mesh else 1


def _split(make: Callable[[], jax.Array]) -> jax.Array:
    """An array whose rows are split over all devices, made where they are."""
    mesh = training_mesh(None)
    return jax.jit(make, out_shardings=mesh and NamedSharding(mesh, Split((SEED, DATA))))()
