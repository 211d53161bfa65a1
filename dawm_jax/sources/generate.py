"""Generates the transitions of a source in chunks, on all devices."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.settings import BatchSize, Count, check_settings
from dawm_jax.sources.base import Source, States
from dawm_jax.training.devices import DATA, SEED, Mesh, Split, fetch, place
from dawm_jax.types import Array, Dataset, Transition

CHUNK_ON_CPU = 2_048  # units per device in one call; more are not faster
CHUNK = 16_384  # the same on accelerators


@dataclass(frozen=True)
class Synthesis:
    """The amount to generate.

    `chunk` is the number of units in one call on all devices, rounded up to a multiple of their
    number (default: `default_chunk`). It changes the transitions by rounding errors only.
    """

    transitions: Count = 1_000_000
    chunk: BatchSize | None = None

    def __post_init__(self) -> None:
        check_settings(self)


def default_chunk(mesh: Mesh | None = None) -> int:
    """Units in one call on all devices."""
    per_device = CHUNK_ON_CPU if jax.default_backend() == "cpu" else CHUNK
    return per_device * (mesh.size if mesh else 1)


def synthesize(
    source: Source,
    states: States,
    dataset: Dataset,
    settings: Synthesis,
    key: Array,
    mesh: Mesh | None = None,
) -> Transition:
    """Generates `settings.transitions` transitions, rounded up to whole units.

    Args:
        states: the trained states of `source.models()`.
        dataset: the recorded data that the source starts from.
        key: unit i depends only on this key and on i, not on the chunk.
        mesh: the devices that share each chunk, from `device_mesh` (default: one device).

    Returns:
        The valid transitions, on the host.
    """
    parts = [
        part for _, part in synthesize_parts(source, states, dataset, settings, key, mesh=mesh)
    ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def synthesize_parts(
    source: Source,
    states: States,
    dataset: Dataset,
    settings: Synthesis,
    key: Array,
    start: int = 0,
    mesh: Mesh | None = None,
) -> Iterator[tuple[int, Transition]]:
    """The transitions of `synthesize` from unit `start` on, one chunk at a time.

    A chunk that does not fit into memory is halved.

    Yields:
        The number of units so far, including those before `start`, and the valid transitions of
        the last chunk, on the host.
    """
    units = source.units(settings.transitions)
    inputs = source.calibrate(states, source.inputs(dataset), key)
    states, inputs, key = place((states, inputs, key), mesh)
    devices = mesh.size if mesh else 1
    size = min(settings.chunk or default_chunk(mesh), units)
    while start < units:
        try:
            for end, part in _chunks(source, states, inputs, key, start, units, size, mesh):
                yield end, part
                start = end
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or size <= devices:
                raise
            size //= 2


def _chunks(
    source: Source,
    states: States,
    inputs: Any,
    key: Array,
    start: int,
    units: int,
    size: int,
    mesh: Mesh | None,
) -> Iterator[tuple[int, Transition]]:
    devices = mesh.size if mesh else 1
    size = -(-size // devices) * devices

    def generate(begin: int) -> tuple[np.ndarray, Any]:
        index = np.arange(begin, begin + size)
        numbers = place(jnp.asarray(index), mesh, Split((SEED, DATA)))
        return index, _generate(source, states, inputs, numbers, key)

    # Each chunk is dispatched before the previous one is fetched.
    chunks: Iterator[Any] = chain(map(generate, range(start, units, size)), [None])
    for (index, generated), _ in pairwise(chunks):
        transitions, valid = fetch(generated, mesh)
        valid = valid & (index < units)[:, None]
        part = jax.tree.map(lambda leaf, valid=valid: leaf[valid], transitions)
        yield min(int(index[-1]) + 1, units), part


@partial(jax.jit, static_argnames="source")
def _generate(
    source: Source, states: States, inputs: Any, index: Array, key: Array
) -> tuple[Transition, Array]:
    return source.generate(states, inputs, index, key)
