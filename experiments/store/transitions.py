"""Synthetic transitions on disk: parts, and the file that joins them.

All are sealed .npz files of the fields of `Transition`, in the environment's units.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.data import npz_columns
from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.types import Dataset, Transition
from experiments.store import files

SHARE = 8  # the rows of one streamed call take an eighth of the memory; four calls are in flight


def write_part(path: Path, part: Transition, dataset: Dataset) -> None:
    """Writes some synthetic transitions, whose arrays are on the host."""
    fields: dict[str, Any] = {
        name: dataset.in_units(name, values) for name, values in vars(part).items()
    }
    files.remove(path)
    with files.atomic(path) as partial_file, partial_file.open("wb") as file:
        np.savez(file, **fields)
    files.seal(path)


def join(parts: list[Path], path: Path) -> dict[str, float]:
    """Joins the parts into one file, with only one column of one part in memory.

    Returns:
        Their facts for results.json.
    """
    shapes = [npz_columns.columns(part) for part in parts]
    rows = sum(part["reward"].shape[0] for part in shapes)
    whole = {name: (c.dtype, (rows, *c.shape[1:])) for name, c in shapes[0].items()}
    files.remove(path)
    with files.atomic(path) as partial_file, partial_file.open("wb") as file:
        npz_columns.write(file, whole, partial(_blocks, parts))
    files.seal(path)
    joined = npz_columns.memory_map(path)
    return {
        "transitions": rows,
        "terminal_share": (rows - np.count_nonzero(joined["discount"])) / rows,
        "reward_mean": float(joined["reward"].mean(dtype=np.float64)),
    }


def opened(path: Path, dataset: Dataset, memory: int) -> Transition | StoredTransitions:
    """The transitions of a joined file, on the device if they take at most `memory` bytes."""
    columns = npz_columns.memory_map(path)
    if sum(column.nbytes for column in columns.values()) > memory:
        return StoredTransitions(columns, dataset.from_units, memory // SHARE)
    fields = {}
    with np.load(path, allow_pickle=False) as stored:
        for name in columns:  # one at a time, because each passes through the host
            fields[name] = jnp.asarray(dataset.from_units(name, stored[name]))
    return Transition(**fields)


def rows_on_host(stored: Transition | StoredTransitions, rows: np.ndarray) -> Transition:
    """The transitions number `rows`, in the scale of actions that learners use."""
    if isinstance(stored, StoredTransitions):
        return stored.rows(rows)
    return jax.tree.map(lambda leaf: np.asarray(leaf[rows]), stored)


def _blocks(parts: list[Path], name: str) -> Iterator[np.ndarray]:
    for part in parts:
        with np.load(part, allow_pickle=False) as stored:
            yield stored[name]
