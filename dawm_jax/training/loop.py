"""The training loop: a compiled scan over updates, for one seed or many."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.stages import Wrapped

from dawm_jax.errors import require
from dawm_jax.training.devices import (
    DATA,
    SEED,
    Mesh,
    NamedSharding,
    Split,
    constrain,
    place,
)
from dawm_jax.training.feeding import Feed, Streamed, calls, step_keys
from dawm_jax.training.nonfinite import nonfinite_error
from dawm_jax.training.protocol import Component, Data, Metrics
from dawm_jax.training.pytree import all_finite
from dawm_jax.types import Array

State = TypeVar("State")
Chunk = Callable[..., tuple[Any, Metrics]]  # see `train_chunk`


def train_chunk(component: Component, updates: int, mesh: Mesh | None = None) -> Chunk:
    """A function that runs the updates `start` .. `start + updates` in one scan.

    The randomness of an update depends only on the key and the number of the update, so the
    result does not depend on the length of chunks or on interruptions. Each batch is split over
    the data axis of `mesh`.

    Returns:
        chunk(state, data, key, start) -> (state, metrics of each step); for `Streamed` data a last
        argument holds the rows of each step's batch that were fetched from the host.
    """
    steps = updates // component.updates_per_step
    split = Split(*[None] * (len(component.batch_shape) - 1), DATA)
    require(
        steps * component.updates_per_step == updates > 0,
        f"chunk is {updates}; it must be a positive multiple of {component.updates_per_step}",
    )

    def chunk(
        state: State, data: Data, key: Array, start: Array, *fetched: Any
    ) -> tuple[State, Metrics]:
        def one_step(state: State, inputs: tuple[Array, ...]) -> tuple[State, Metrics]:
            batch_key, update_key, *rows = inputs
            batch = data.sample(batch_key, component.batch_shape, *rows)
            return component.update(state, constrain(batch, mesh, split), update_key)

        numbers = start // component.updates_per_step + jnp.arange(steps)
        keys = jax.vmap(step_keys, (None, 0))(key, numbers)
        return jax.lax.scan(one_step, state, (*keys, *fetched))

    return chunk


def over_seeds(chunk: Chunk, mesh: Mesh | None = None) -> Chunk:
    """`chunk` with a leading seed axis of the state, the key and the metrics.

    In fetched rows the seed axis is the second, after the steps. An accelerator updates its seeds
    together; a CPU updates one after the other, because the parameters and moments of one seed fit
    into its cache and those of several do not.
    """
    map_seeds = jax.lax.map if jax.default_backend() == "cpu" else _vmap

    def all_seeds(
        state: State, data: Data, key: Array, start: Array, *fetched: Any
    ) -> tuple[State, Metrics]:
        def one_seed(inputs: tuple[Any, ...]) -> tuple[State, Metrics]:
            state, key, *rows = inputs
            return chunk(state, data, key, start, *rows)

        rows = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), fetched)
        return map_seeds(one_seed, (state, key, *rows))

    if mesh is None:
        return all_seeds

    def on_mesh(state: State, data: Data, key: Array, start: Array, *fetched: Any) -> Any:
        splits = (Split(SEED), Split(), Split(SEED), Split(), *(Split(None, SEED) for _ in fetched))
        return jax.shard_map(
            all_seeds, mesh=mesh, in_specs=splits, out_specs=Split(SEED), axis_names={SEED}
        )(state, data, key, start, *fetched)

    return on_mesh


def _vmap(function: Callable[[Any], Any], seeds: Any) -> Any:
    return jax.vmap(function)(seeds)


def compiled_loop(chunk: Chunk, **outputs: Any) -> Wrapped:
    """`chunk` under `jax.jit`, with its state donated and `outputs` as further options."""
    return jax.jit(chunk, donate_argnums=0, compiler_options=_options(), **outputs)


@cache
def _options() -> dict[str, bool]:
    """Makes XLA copy fewer of the parameters that a loop updates, on CPUs that support it."""
    option = {"xla_cpu_copy_insertion_use_region_analysis": True}
    if jax.default_backend() == "cpu":
        with suppress(jax.errors.JaxRuntimeError):  # this version lacks the option
            jax.jit(lambda: 0, compiler_options=option)()
            return option
    return {}


def fit(
    component: Component,
    state: State,
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
    state: State,
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
        state: the state after `start` updates; it is not donated.
        data: the data to draw batches from. `Streamed` data give bit-identical results.
        key: one key, or one per seed with `seeds`.
        chunk: updates per compiled call, a divisor of `component.steps` (default: all).
            A start within a chunk makes the first call shorter.
        seeds: whether state and key have a leading seed axis.
        mesh: the devices to train on, from `device_mesh` (default: one device).

    Yields:
        After each chunk: updates so far, the state, the chunk's mean metrics. The state's buffers
        are donated to the next chunk, so read it before you request the next item. On a mesh the
        state is split over its seed axis, and every device has the metrics.

    Raises:
        UserError: the chunk, the start or the seeds do not divide evenly.
        NonFiniteError: a metric or a part of the state is not finite.
    """
    steps, unit = component.steps, component.updates_per_step
    length = steps if chunk is None else chunk
    require(
        length > 0 and steps % length == 0 and start % unit == 0,
        f"chunk is {length} and start {start}; chunk must divide the {steps} updates, and start "
        f"must be a multiple of updates_per_step, {unit}",
    )
    if mesh and seeds:
        require(
            len(key) % mesh.shape[SEED] == 0,
            f"{len(key)} seeds cannot be split evenly over the {mesh.shape[SEED]} devices of the "
            f"mesh's seed axis: build the mesh with device_mesh({len(key)})",
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
        return compiled_loop(over_seeds(step_chunk, mesh) if seeds else step_chunk, **outputs)

    feed = None
    if isinstance(data, Streamed):
        feed = Feed(data, component.batch_shape, unit, key, seeds, mesh)
    state = _copy(place(state, mesh, split))  # the caller's is not donated
    begin = start
    parts: list[Metrics] = []  # metrics of the chunk's calls
    pending = calls(start, steps, length, unit, feed.max_batches if feed else None)
    for (first, end), *fetched in feed.ahead(pending) if feed else ((call,) for call in pending):
        state, metrics = compiled(end - first)(state, data, key, jnp.int32(first), *fetched)
        parts.append(metrics)
        if end % length:
            continue
        means = _means(parts)
        if not (all_finite(state) and all_finite(means)):
            name = type(component).__name__
            raise nonfinite_error(name, state, _concatenate(parts), begin, end, seeds)
        yield end, state, means
        begin, parts = end, []


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _concatenate(parts: list[Metrics]) -> Metrics:
    """The metrics of consecutive calls, along their last axis, the steps."""
    return jax.tree.map(lambda *steps: jnp.concatenate(steps, axis=-1), *parts)


def _means(parts: list[Metrics]) -> Metrics:
    """Means over the steps of consecutive calls, independent of how they are cut."""
    return _mean(_concatenate(parts))


@jax.jit
def _mean(metrics: Metrics) -> Metrics:
    return jax.tree.map(lambda steps: jnp.mean(steps, axis=-1), metrics)
