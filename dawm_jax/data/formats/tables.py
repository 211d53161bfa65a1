"""Tables: named columns with a row per step, from CSV, npz or parquet files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dawm_jax.errors import require

SHOWN = 20  # names in a message


class Table(NamedTuple):
    """The columns of a file, read when they are needed."""

    name: str  # of the file, for messages
    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], dict[str, np.ndarray]]  # columns by name; any types


def columns_of(table: Table, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns `names`, of equal lengths, at least one row.

    Raises:
        UserError: a column does not exist, or the columns have different lengths or no rows.
    """
    missing = [name for name in names if name not in table.columns]
    require(
        not missing,
        f"{table.name} has no column {', '.join(missing)}; it has {listed(table.columns)}",
    )
    found = table.read(list(dict.fromkeys(names)))
    scalars = [name for name, column in found.items() if column.ndim == 0]
    require(not scalars, f"{listed(tuple(scalars))} of {table.name} is one number: no column")
    lengths = {name: len(column) for name, column in found.items()}
    require(
        len(set(lengths.values())) == 1,
        f"the columns of {table.name} have different lengths: "
        f"{', '.join(f'{name} {length}' for name, length in lengths.items())}. Each needs one row "
        "per step",
    )
    require(min(lengths.values()) > 0, f"{table.name} has no rows")
    return found


def check_file(path: Path) -> None:
    """Raises UserError unless `path` is a file."""
    require(path.exists(), f"{path} does not exist")
    require(path.is_file(), f"{path} is a folder; a file is expected")


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
