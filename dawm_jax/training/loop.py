"""The one training loop: a compiled scan over updates, for one seed or for many at once."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax.stages import Lowered, Wrapped
from jax.tree_util import Partial

from dawm_jax.errors import require
from dawm_jax.training.devices import (
    DATA,
    SEED,
    Mesh,
    NamedSharding,
    Split,
    constrain,
    place,
    placed_shapes,
)
from dawm_jax.training.feeding import Feed, Streamed, calls, step_keys
from dawm_jax.training.nonfinite import first_failure
from dawm_jax.training.pytree import all_finite
from dawm_jax.training.starting import made_beside
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
    """What batches are drawn from, on the device; see `feeding` for what is too large for it."""

    def sample(self, key: Array, shape: tuple[int, ...]) -> Any:
        """A batch of leading dimensions `shape`."""


Chunk = Callable[..., tuple[Any, Metrics]]  # see `train_chunk`


def train_chunk(component: Component, updates: int, mesh: Mesh | None = None) -> Chunk:
    """A function that makes the updates `start` .. `start + updates` in one scan.

    The randomness of each update comes from the key and the number of the update, so that chunks
    of any length, and an interrupted run, give the same result. Each batch is split over the data
    axis of `mesh`.

    Returns:
        chunk(state, data, key, start) -> (state, metrics of each step); with a last argument for
        `Streamed` data, the rows of each step's batch that were fetched from the host.
    """
    steps = updates // component.updates_per_step
    split = Split(*[None] * (len(component.batch_shape) - 1), DATA)
    require(
        steps * component.updates_per_step == updates > 0,
        f"a chunk of {updates} updates is not a positive multiple of {component.updates_per_step}",
    )

    def chunk(
        state: State, data: Data, key: Array, start: Array, *fetched: Any
    ) -> tuple[State, Metrics]:
        def one_step(state: State, this: tuple[Array, ...]) -> tuple[State, Metrics]:
            batch_key, update_key, *rows = this
            batch = data.sample(batch_key, component.batch_shape, *rows)
            return component.update(state, constrain(batch, mesh, split), update_key)

        numbers = start // component.updates_per_step + jnp.arange(steps)
        keys = jax.vmap(step_keys, (None, 0))(key, numbers)
        return jax.lax.scan(one_step, state, (*keys, *fetched))

    return chunk


def over_seeds(chunk: Chunk, mesh: Mesh | None = None) -> Chunk:
    """`chunk` for a leading seed axis of the state, the key and the metrics.

    Of fetched rows it is the second: the first is the steps'. The seeds of a device are updated
    together; on a processor one after the other, as one seed's parameters and moments stay in the
    cache of a core and those of several do not.
    """
    every = jax.lax.map if jax.default_backend() == "cpu" else _vmapped

    def all_seeds(
        state: State, data: Data, key: Array, start: Array, *fetched: Any
    ) -> tuple[State, Metrics]:
        def one_seed(own: tuple[Any, ...]) -> tuple[State, Metrics]:
            state, key, *rows = own
            return chunk(state, data, key, start, *rows)

        rows = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), fetched)
        return every(one_seed, (state, key, *rows))

    if mesh is None:
        return all_seeds

    def on_mesh(state: State, data: Data, key: Array, start: Array, *fetched: Any) -> Any:
        own = (Split(SEED), Split(), Split(SEED), Split(), *(Split(None, SEED) for _ in fetched))
        return jax.shard_map(
            all_seeds, mesh=mesh, in_specs=own, out_specs=Split(SEED), axis_names={SEED}
        )(state, data, key, start, *fetched)

    return on_mesh


def _vmapped(function: Callable[[Any], Any], seeds: Any) -> Any:
    return jax.vmap(function)(seeds)


def jitted(chunk: Chunk, **outputs: Any) -> Wrapped:
    """`chunk` to be compiled whole, with `outputs` as of `jax.jit`."""
    return jax.jit(chunk, compiler_options=_options(), **outputs)


@cache
def _options() -> dict[str, bool]:
    """What has XLA copy few of the parameters that a loop updates, on CPUs; if it knows that."""
    option = {"xla_cpu_copy_insertion_use_region_analysis": True}
    if jax.default_backend() == "cpu":
        with suppress(jax.errors.JaxRuntimeError):  # a version without it
            jax.jit(lambda: 0, compiler_options=option)()
            return option
    return {}


def fit(
    component: Component,
    state: State | Partial,
    data: Data | Streamed,
    key: Array,
    *,
    seeds: bool = False,
    mesh: Mesh | None = None,
) -> State:
    """The state after all of `component.steps` updates; see `train`."""
    *_, (_, last, _) = train(component, state, data, key, seeds=seeds, mesh=mesh)
    return last


def train(
    component: Component,
    state: State | Partial,
    data: Data | Streamed,
    key: Array,
    *,
    chunk: int | None = None,
    start: int = 0,
    seeds: bool = False,
    mesh: Mesh | None = None,
) -> Iterator[tuple[int, State, Metrics]]:
    """Trains from update `start` to `component.steps`.

    Args:
        state: the state to start from, or what makes it, which is done while the program of the
            first call is compiled (with `Streamed` data, before).
        data: what batches are drawn from, or `Streamed` data, with results equal to the bit.
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
    key = place(key, mesh, split)
    data = place(jax.device_put(data), mesh)
    outputs: dict[str, Any] = {}
    if mesh:
        outputs["out_shardings"] = (NamedSharding(mesh, split), NamedSharding(mesh, Split()))

    @cache
    def compiled(updates: int) -> Wrapped:
        step_chunk = train_chunk(component, updates, mesh)
        return jitted(over_seeds(step_chunk, mesh) if seeds else step_chunk, **outputs)

    feed = None
    if isinstance(data, Streamed):
        feed = Feed(data, component.batch_shape, unit, key, seeds, mesh)

    def one(state: State, done: int) -> tuple[State, Metrics]:
        rows = [feed.now((done, done + unit))] if feed else []
        state, metrics = compiled(unit)(state, data, key, jnp.int32(done), *rows)
        return state, _means([metrics])

    def first_call(shapes: State) -> Lowered:
        first, end = next(calls(start, steps, length, unit, None))
        shapes = placed_shapes(shapes, mesh, split)
        return compiled(end - first).lower(shapes, data, key, jnp.int32(first))

    def check(shapes: State) -> Lowered:
        return all_finite.lower(placed_shapes(shapes, mesh, split))

    if isinstance(state, Partial):
        # Of streamed data the first call is not compiled beside it: its rows would be read twice.
        users = [check] if feed or start == steps else [first_call, check]
        state = made_beside(state, *users)
    # Not donated: what went wrong in a chunk is found from its start.
    begin, before = start, place(state, mesh, split)
    last = before
    parts: list[Metrics] = []  # metrics of the chunk's calls
    ahead = calls(start, steps, length, unit, feed.most if feed else None)
    for (first, end), *fetched in feed.ahead(ahead) if feed else ((call,) for call in ahead):
        last, metrics = compiled(end - first)(last, data, key, jnp.int32(first), *fetched)
        parts.append(metrics)
        if end % length:
            continue
        metrics = _means(parts)
        if not (all_finite(last) and all_finite(metrics)):
            name = type(component).__name__
            raise first_failure(name, unit, one, before, begin, end, seeds)
        yield end, last, metrics
        begin, before, parts = end, last, []


def _means(parts: list[Metrics]) -> Metrics:
    """Means over the steps, the last axis, of consecutive calls; however they were cut."""
    return _mean(jax.tree.map(lambda *steps: jnp.concatenate(steps, axis=-1), *parts))


@jax.jit
def _mean(metrics: Metrics) -> Metrics:
    return jax.tree.map(lambda steps: jnp.mean(steps, axis=-1), metrics)
