"""The one training loop: a compiled scan over updates, for one seed or for many at once."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

from dawm_jax.errors import NonFiniteError, require
from dawm_jax.mesh import DATA, SEED, Mesh, NamedSharding, Split, constrain, place
from dawm_jax.types import Array

State = TypeVar("State")
Metrics = dict[str, Array]


class Component(Protocol):
    """What can be trained: a world model, an inverse dynamics model, or a learner."""

    @property
    def steps(self) -> int:
        """Updates in all."""

    @property
    def updates_per_step(self) -> int:
        """Updates made by one call of `update`."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading dimensions of the batch that one call of `update` takes."""

    def update(self, state: Any, batch: Any, key: Array) -> tuple[Any, Metrics]:
        """The state after one call, and scalar metrics."""


class Data(Protocol):
    """What batches are drawn from, on the device."""

    def sample(self, key: Array, shape: tuple[int, ...]) -> Any:
        """A batch of leading dimensions `shape`."""


Chunk = Callable[[State, Data, Array, Array], tuple[State, Metrics]]


def train_chunk(component: Component, updates: int, mesh: Mesh | None = None) -> Chunk:
    """A function that makes the updates `start` .. `start + updates` in one scan.

    The randomness of each update comes from the key and the number of the update, so that chunks
    of any length, and an interrupted run, give the same result. Each batch is split over the data
    axis of `mesh`.

    Returns:
        chunk(state, data, key, start) -> (state, metrics averaged over the chunk).
    """
    steps = updates // component.updates_per_step
    split = Split(*[None] * (len(component.batch_shape) - 1), DATA)
    require(
        steps * component.updates_per_step == updates > 0,
        f"a chunk of {updates} updates is not a positive multiple of {component.updates_per_step}",
    )

    def chunk(state: State, data: Data, key: Array, start: Array) -> tuple[State, Metrics]:
        def one_step(state: State, step: Array) -> tuple[State, Metrics]:
            batch_key, update_key = jax.random.split(jax.random.fold_in(key, step))
            batch = constrain(data.sample(batch_key, component.batch_shape), mesh, split)
            return component.update(state, batch, update_key)

        first = start // component.updates_per_step
        state, metrics = jax.lax.scan(one_step, state, first + jnp.arange(steps))
        return state, jax.tree.map(jnp.mean, metrics)

    return chunk


def over_seeds(chunk: Chunk, mesh: Mesh | None = None) -> Chunk:
    """`chunk` for a leading seed axis of the state, the key and the metrics."""
    return jax.vmap(chunk, in_axes=(0, None, 0, None), spmd_axis_name=mesh and SEED)


def fit(
    component: Component,
    state: State,
    data: Data,
    key: Array,
    *,
    seeds: bool = False,
    mesh: Mesh | None = None,
) -> State:
    """The state after all of `component.steps` updates; see `train`."""
    for _, last, _ in train(component, state, data, key, seeds=seeds, mesh=mesh):
        state = last
    return state


def train(
    component: Component,
    state: State,
    data: Data,
    key: Array,
    *,
    chunk: int | None = None,
    start: int = 0,
    seeds: bool = False,
    mesh: Mesh | None = None,
) -> Iterator[tuple[int, State, Metrics]]:
    """Trains from update `start` to `component.steps`.

    Args:
        state: the state to start from.
        key: one key, or with `seeds` one a seed.
        chunk: updates in one compiled call, a divisor of `component.steps`; all unless given. From
            a start within a chunk, the first call makes what is left of it.
        seeds: whether state and key have a leading seed axis.
        mesh: the devices to train on, as of `device_mesh`; one unless given.

    Yields:
        After each chunk the updates made so far, the state and the chunk's mean metrics. On a mesh
        the state is split over its seed axis, and every device has the metrics.

    Raises:
        NonFiniteError: a metric or a part of the state is not finite; it names the update and the
            first such quantity, and carries the state before.
    """
    steps, unit = component.steps, component.updates_per_step
    length = steps if chunk is None else chunk
    require(
        length > 0 and steps % length == 0 and start % unit == 0,
        f"{steps} updates from update {start} on cannot be made in chunks of {length}, "
        f"{unit} at a time",
    )
    if mesh and seeds:
        require(
            len(key) % mesh.shape[SEED] == 0,
            f"{len(key)} seeds cannot be split evenly over the {mesh.shape[SEED]} devices of the "
            f"mesh's seed axis: make the mesh with device_mesh({len(key)})",
        )
    split = Split(SEED) if seeds else Split()
    state, key = place((state, key), mesh, split)
    data = place(jax.device_put(data), mesh)
    outputs: dict[str, Any] = {}
    if mesh:
        outputs["out_shardings"] = (NamedSharding(mesh, split), NamedSharding(mesh, Split()))

    @cache
    def compiled(updates: int) -> Chunk:
        step_chunk = train_chunk(component, updates, mesh)
        return jax.jit(over_seeds(step_chunk, mesh) if seeds else step_chunk, **outputs)

    begin = start
    while begin < steps:
        end = begin - begin % length + length
        before = state  # not donated: what went wrong in a chunk is found from its start
        state, metrics = compiled(end - begin)(before, data, key, jnp.int32(begin))
        if not _all_finite((state, metrics)):

            def one(state: State, done: int) -> tuple[State, Metrics]:
                return compiled(unit)(state, data, key, jnp.int32(done))

            raise _first_failure(component, one, before, begin, end, seeds)
        yield end, state, metrics
        begin = end


@jax.jit
def _all_finite(tree: Any) -> Array:
    """Whether every floating-point number of a tree is finite."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.array([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def _first_failure(
    component: Component, one: Callable[..., Any], state: State, begin: int, end: int, seeds: bool
) -> NonFiniteError:
    """What is not finite first when the updates `begin` to `end` are repeated one at a time."""
    name, unit, first = type(component).__name__, component.updates_per_step, state
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


def _not_finite(state: State, metrics: Metrics, seeds: bool) -> str | None:
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
