"""The one training loop: a compiled scan over updates, for one seed or for many at once."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

from dawm_jax.errors import require
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


def train_chunk(component: Component, updates: int) -> Chunk:
    """A function that makes the updates `start` .. `start + updates` in one scan.

    The randomness of each update comes from the key and the number of the update, so that chunks
    of any length, and an interrupted run, give the same result.

    Returns:
        chunk(state, data, key, start) -> (state, metrics averaged over the chunk).
    """
    steps = updates // component.updates_per_step
    require(
        steps * component.updates_per_step == updates > 0,
        f"a chunk of {updates} updates is not a positive multiple of {component.updates_per_step}",
    )

    def chunk(state: State, data: Data, key: Array, start: Array) -> tuple[State, Metrics]:
        def one_step(state: State, step: Array) -> tuple[State, Metrics]:
            batch_key, update_key = jax.random.split(jax.random.fold_in(key, step))
            batch = data.sample(batch_key, component.batch_shape)
            return component.update(state, batch, update_key)

        first = start // component.updates_per_step
        state, metrics = jax.lax.scan(one_step, state, first + jnp.arange(steps))
        return state, jax.tree.map(jnp.mean, metrics)

    return chunk


def over_seeds(chunk: Chunk) -> Chunk:
    """`chunk` for a leading seed axis of the state, the key and the metrics."""
    return jax.vmap(chunk, in_axes=(0, None, 0, None))


def fit(
    component: Component, state: State, data: Data, key: Array, *, seeds: bool = False
) -> State:
    """The state after all of `component.steps` updates; see `train`."""
    for _, last, _ in train(component, state, data, key, seeds=seeds):
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
) -> Iterator[tuple[int, State, Metrics]]:
    """Trains from update `start` to `component.steps`.

    Args:
        state: the state to start from.
        key: one key, or with `seeds` one a seed.
        chunk: updates in one compiled call, a divisor of the updates left; all unless given.
        seeds: whether state and key have a leading seed axis.

    Yields:
        After each chunk the updates made so far, the state and the chunk's mean metrics. The state
        is valid until the next one is asked for.

    Raises:
        FloatingPointError: a metric is not finite; it names the metric and the updates.
    """
    left = component.steps - start
    length = left if chunk is None else chunk
    if left == 0:
        return
    require(
        length > 0 and left % length == 0 and start % component.updates_per_step == 0,
        f"{left} updates from update {start} on cannot be made in chunks of {length}, "
        f"{component.updates_per_step} at a time",
    )
    state = jax.tree.map(jnp.copy, state)  # the caller keeps his: ours is donated
    data = jax.device_put(data)
    step_chunk = train_chunk(component, length)
    compiled = jax.jit(over_seeds(step_chunk) if seeds else step_chunk, donate_argnums=0)
    for begin in range(start, component.steps, length):
        state, metrics = compiled(state, data, key, jnp.int32(begin))
        for name, value in metrics.items():
            if not jnp.isfinite(value).all():
                raise FloatingPointError(
                    f"'{name}' of {type(component).__name__} is not finite in updates {begin} to "
                    f"{begin + length}: a lower learning rate may help"
                )
        yield begin + length, state, metrics
