"""The machine's roofline, measured: large matrix products and a copy through memory.

Several accelerators run them at the same time; the cores of a CPU work together on one.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp

from dawm_jax.training.devices import DATA, SEED, NamedSharding, Split, place
from experiments.benchmark.cases import COPY, LAYER_PRODUCTS, PRODUCTS, Case, timed, timed_steps
from experiments.benchmark.scope import Scope
from experiments.system.machine import training_mesh

UNROLLED = 500  # products in the body of a loop; longer bodies compile slowly


def rooflines(
    scope: Scope, *dtypes: str, copy: bool = False, layer: tuple[int, int] | None = None
) -> list[Case]:
    """The cases that bound a group: large products in each dtype and, on request, a copy.

    Args:
        layer: (rows, width) of the products of the group's own layers, for a case of that size.
    """
    shapes, flops = scope.product_shapes, scope.flops_per_call
    products = [_fastest_products(dtype, shapes, flops) for dtype in dtypes]
    layers = [_products(LAYER_PRODUCTS, dtype, *layer, flops) for dtype in dtypes] if layer else []
    return products + layers + ([_copy(scope.copy_bytes)] if copy else [])


@cache
def _fastest_products(dtype: str, shapes: tuple[tuple[int, int], ...], flops: float) -> Case:
    """The case with the highest rate, of products (rows, width) times (width, width)."""
    cases = [_products(PRODUCTS, dtype, rows, width, flops) for rows, width in shapes]
    for case in cases:
        case.call(1)  # compiles
    return max(cases, key=lambda case: case.flops / case.call(1))


def _products(by: str, dtype: str, rows: int, width: int, flops: float) -> Case:
    """A chain of products, each of which depends on the one before it."""
    rows, flops = rows * device_count(), flops * device_count()
    flops_per_product = 2.0 * rows * width * width
    iterations = max(1, round(flops / flops_per_product / UNROLLED))
    unrolled = max(1, round(flops / flops_per_product / iterations))
    count = iterations * unrolled
    keys = jax.random.split(jax.random.key(0))
    x = _split(lambda: jax.random.normal(keys[0], (rows, width), dtype))
    # This scale preserves norms: the chain neither overflows nor reaches slow subnormal numbers.
    w = jax.random.normal(keys[1], (width, width), dtype) / jnp.asarray(width, dtype) ** 0.5
    w = place(w, training_mesh(None))

    @jax.jit
    def products(x: jax.Array, w: jax.Array) -> jax.Array:
        def body(_: int, x: jax.Array) -> jax.Array:
            for _ in range(unrolled):
                x = x @ w
            return x

        return jax.lax.fori_loop(0, iterations, body, x)

    return Case(
        by=by,
        work={"products": count},
        call=timed(lambda: products(x, w)),
        settings={"rows": rows, "width": width, "dtype": dtype},
        flops=count * flops_per_product,
        dtype=dtype,
    )


@cache
def _copy(size: int) -> Case:
    """Each device reads and writes `size` bytes in place; new pages would cost extra."""
    size *= device_count()
    step: Callable[[jax.Array], jax.Array] = jax.jit(lambda x: x + 1.0, donate_argnums=0)
    return Case(
        by=COPY,
        work={"bytes": 2.0 * size},
        call=timed_steps(step, _split(lambda: jnp.zeros(size // 4))),
        settings={"copied": size},
        traffic=2.0 * size,
    )


def device_count() -> int:
    """The number of devices that share the batches of one model, each with all its parameters."""
    mesh = training_mesh(None)
    return mesh.size if mesh else 1


def _split(create: Callable[[], jax.Array]) -> jax.Array:
    """A new array whose rows are split over all devices."""
    mesh = training_mesh(None)
    return jax.jit(create, out_shardings=mesh and NamedSharding(mesh, Split((SEED, DATA))))()
