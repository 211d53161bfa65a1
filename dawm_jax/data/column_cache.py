"""Checked columns, kept in one file so that a data set is read and checked only once.

The file lies in the data set's folder beside data/, the only place there that Minari looks into:
it is moved, replaced and deleted together with what it was made of, and serves all who share it.
It counts only while the files in data/ have the names, sizes and times of change that they had.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from time import time
from uuid import uuid4

import numpy as np

from dawm_jax.data.columns import Columns

NAME = "dawm_jax_columns.npz"
VERSION = 1  # to be raised with every change of the checks and of `Columns`
TICK = 2.0  # seconds; the coarsest times of change that file systems keep


def cached(data: Path, make: Callable[[], Columns]) -> Columns:
    """The columns of the data set in the folder `data`, from its cache, or made and kept there.

    A cache that is damaged or of other files counts for nothing; one that cannot be written is
    not written.
    """
    path, state = data.parent / NAME, _state(data)
    columns = _read(path, state) if state else None
    if columns is None:
        columns = make()
        if state and state == _state(data):
            _write(path, state, columns)
    return columns


def _state(data: Path) -> str | None:
    """What stands for the files in `data`; None where a change of them might not show."""
    try:
        stats = {str(path.relative_to(data)): path.stat() for path in sorted(data.rglob("*"))}
    except OSError:
        return None
    if not stats or max(stat.st_mtime for stat in stats.values()) > time() - TICK:
        return None
    files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]
    return hashlib.sha256(json.dumps([VERSION, files]).encode()).hexdigest()


def _read(path: Path, state: str) -> Columns | None:
    """What is kept, if it is of that state; npz files carry checksums, which reading compares."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if kept["state"].item() == state:
                return Columns(**{field.name: kept[field.name] for field in fields(Columns)})
    except Exception:  # what a damaged file raises depends on where it is damaged
        pass
    return None


def _write(path: Path, state: str, columns: Columns) -> None:
    """Keeps all of the columns or nothing."""
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    with suppress(OSError):  # a full disk, a folder that is only to be read
        try:
            with partial.open("xb") as file:
                np.savez(file, state=np.array(state), **vars(columns))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
