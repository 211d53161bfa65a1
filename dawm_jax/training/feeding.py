"""Data too large for the device: a call's rows are fetched during the previous compiled call.

The row numbers are drawn on the device from the keys that the call itself uses; a thread gathers
the rows on the host and passes them to the call.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.training.devices import SEED, Mesh, NamedSharding, Split, place
from dawm_jax.types import Array

Call = tuple[int, int]  # the first update, and the one after the last


@runtime_checkable
class Streamed(Protocol):
    """Data to draw batches from, part of which stays on the host."""

    def index(self, key: Array, shape: tuple[int, ...]) -> Array:
        """The row numbers of that part of a batch of leading dimensions `shape`."""

    def fetch(self, index: np.ndarray) -> Any:
        """The rows at `index`, in arrays with the leading dimensions of `index`."""

    def max_rows(self) -> int:
        """The largest number of rows for one call."""

    def sample(self, key: Array, shape: tuple[int, ...], fetched: Any) -> Any:
        """The batch, given its host rows from `fetch`."""


def step_keys(key: Array, step: Array) -> tuple[Array, Array]:
    """The keys of the batch and of the updates of a step."""
    batch_key, update_key = jax.random.split(jax.random.fold_in(key, step))
    return batch_key, update_key


def calls(start: int, steps: int, chunk: int, unit: int, max_batches: int | None) -> Iterator[Call]:
    """The compiled calls from update `start` to `steps`; none crosses the end of a chunk.

    The rest of a chunk is one call or, given `max_batches` per call, the fewest calls of nearly
    equal length, with `unit` updates per batch.
    """
    while start < steps:
        end = start - start % chunk + chunk
        batches = (end - start) // unit
        parts = max(1, -(-batches // max_batches)) if max_batches else 1
        begins = [start + unit * (batches * part // parts) for part in range(parts)]
        yield from pairwise([*begins, end])
        start = end


@dataclass(frozen=True)
class Feed:
    """The host rows of one training run."""

    data: Streamed
    batch_shape: tuple[int, ...]
    unit: int  # updates per batch
    key: Array  # one key, or one per seed
    seeds: bool  # whether the key has a seed axis
    mesh: Mesh | None

    @property
    def max_batches(self) -> int:
        """The largest number of batches, each of all seeds, in one call."""
        one = jax.eval_shape(self._indices, self.key, jnp.zeros(1, jnp.int32))
        return max(1, self.data.max_rows() // max(1, one.size))

    def ahead(self, calls: Iterator[Call]) -> Iterator[tuple[Call, Any]]:
        """The calls and their rows; the next rows are gathered while a call runs."""
        with ThreadPoolExecutor(1) as thread:

            def gather(call: Call) -> tuple[Call, Future[Any]]:
                # Drawn before the previous call is dispatched: devices run programs in order.
                return call, thread.submit(self._gather, self._draw(call))

            gathered: Iterator[Any] = chain(map(gather, calls), [None])
            for (call, rows), _ in pairwise(gathered):
                yield call, self._place(rows.result())

    def _draw(self, call: Call) -> Array:
        steps = np.arange(call[0] // self.unit, call[1] // self.unit, dtype=np.int32)
        return self._compiled(self.key, steps)

    @cached_property
    def _compiled(self) -> Callable[[Array, np.ndarray], Array]:
        whole = NamedSharding(self.mesh, Split()) if self.mesh else None
        return jax.jit(self._indices, out_shardings=whole)

    def _indices(self, key: Array, steps: Array) -> Array:
        """The rows of the batches: (steps, [seeds], ...)."""

        def one(key: Array, step: Array) -> Array:
            return self.data.index(step_keys(key, step)[0], self.batch_shape)

        every = jax.vmap(one, (0, None)) if self.seeds else one
        return jax.vmap(every, (None, 0))(key, steps)

    def _gather(self, index: Array) -> Any:
        return self.data.fetch(np.asarray(index))

    def _place(self, rows: Any) -> Any:
        return place(jax.device_put(rows), self.mesh, Split(None, SEED) if self.seeds else Split())
