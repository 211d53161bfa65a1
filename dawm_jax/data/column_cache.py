"""A cache of checked columns, so that a data set is read and checked only once.

The file lies in the data set's folder beside data/, the only folder that Minari reads, so it is
moved, replaced, deleted and shared together with the data set. It is valid only while the files in
data/ keep their names, sizes and modification times.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from time import time
from uuid import uuid4

import numpy as np

from dawm_jax.data.columns import Columns

NAME = "dawm_jax_columns.npz"
VERSION = 2  # incremented when the checks or `Columns` change
TICK = 2.0  # seconds; the coarsest resolution of modification times among file systems


def cached(data: Path, read: Callable[[], Columns]) -> Columns:
    """The columns of the data set in the folder `data`, from its cache or from `read`.

    A damaged or stale cache is ignored; a cache that cannot be written is skipped.
    """
    path, state = data.parent / NAME, _state(data)
    columns = _read(path, state) if state else None
    if columns is None:
        columns = read()
        if state and state == _state(data):
            _write(path, state, columns)
    return columns


def _state(data: Path) -> str | None:
    """A hash of the state of the files in `data`; None if a change might go unnoticed."""
    try:
        stats = {str(path.relative_to(data)): path.stat() for path in sorted(data.rglob("*"))}
    except OSError:
        return None
    if not stats or max(stat.st_mtime for stat in stats.values()) > time() - TICK:
        return None
    files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()]
    return hashlib.sha256(json.dumps([VERSION, files]).encode()).hexdigest()


def _read(path: Path, state: str) -> Columns | None:
    """The cached columns, if valid for `state`."""
    try:
        with zipfile.ZipFile(path) as archive:
            if _array(archive, "state").item() == state:
                return Columns(**{f.name: _array(archive, f.name) for f in fields(Columns)})
    except Exception:  # the error depends on where the file is damaged
        pass
    return None


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of the archive; reading to its end compares its checksum."""
    with archive.open(f"{name}.npy") as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError("the array's header names a smaller array than the file holds")
    return array


def _write(path: Path, state: str, columns: Columns) -> None:
    """Writes all columns or nothing."""
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    with suppress(OSError):  # a full disk, a read-only folder
        try:
            with partial.open("xb") as file:
                np.savez(file, state=np.array(state), **vars(columns))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
