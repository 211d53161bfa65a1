"""The pool of generated transitions: parts on disk, one file of them, and that file in use.

All are .npz files of the fields of `Transition`, in the environment's units, sealed.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from dawm_jax.data import npz_columns
from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.types import Dataset, Transition
from experiments.store import files

SHARE = 8  # of the memory for the pool, what streamed rows of one call take; four are on their way


def write_part(path: Path, part: Transition, dataset: Dataset) -> None:
    """Writes some generated transitions, whose arrays are on the host."""
    fields = {**vars(part), "action": dataset.unscale_action(part.action)}
    files.remove(path)
    with files.whole(path) as partial_file, partial_file.open("wb") as file:
        np.savez(file, **fields)
    files.seal(path)


def join(parts: list[Path], path: Path) -> dict[str, float]:
    """Writes the parts, one after the other, as one file; only a part's column is in memory.

    Returns:
        The facts of results.json about all of them.
    """
    shapes = [npz_columns.columns(part) for part in parts]
    rows = sum(part["reward"].shape[0] for part in shapes)
    whole = {name: (c.dtype, (rows, *c.shape[1:])) for name, c in shapes[0].items()}
    files.remove(path)
    with files.whole(path) as partial_file, partial_file.open("wb") as file:
        npz_columns.write(file, whole, partial(_blocks, parts))
    files.seal(path)
    made = npz_columns.mapped(path)
    return {
        "transitions": rows,
        "terminal_share": (rows - np.count_nonzero(made["discount"])) / rows,
        "reward_mean": float(made["reward"].mean(dtype=np.float64)),
    }


def opened(path: Path, dataset: Dataset, memory: int) -> Transition | StoredTransitions:
    """The transitions of a joined file, on the device if that takes at most `memory` bytes."""
    columns = npz_columns.mapped(path)
    if sum(column.nbytes for column in columns.values()) > memory:
        return StoredTransitions(columns, dataset.scale_action, memory // SHARE)
    fields = {}
    with np.load(path, allow_pickle=False) as stored:
        for name in columns:  # one after the other, as each is on the host for a moment
            column = stored[name]
            fields[name] = jnp.asarray(dataset.scale_action(column) if name == "action" else column)
    return Transition(**fields)


def _blocks(parts: list[Path], name: str) -> Iterator[np.ndarray]:
    for part in parts:
        with np.load(part, allow_pickle=False) as stored:
            yield stored[name]
