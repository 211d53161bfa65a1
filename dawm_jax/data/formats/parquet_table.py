"""Parquet files as tables, with pyarrow, which is optional.

Pitfalls, each with a test: vectors are lists, which may differ in length from row to row; a missing
value is no number.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dawm_jax.data.formats.tables import Table, check_file
from dawm_jax.errors import DatasetError, UserError, require


def open_parquet(paths: Sequence[Path]) -> Table:
    """The table of a parquet file, or of several with the same columns, one after the other.

    Raises:
        UserError: pyarrow is missing, a file is damaged or has other columns than the first one.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            "parquet files are read with pyarrow, which is not installed: pip install pyarrow"
        ) from error

    schemas = []
    for path in paths:
        check_file(path)
        try:
            schemas.append(tuple(parquet.read_schema(path).names))
        except (pyarrow.ArrowException, OSError) as error:
            raise DatasetError(_unreadable(path, error)) from error
        require(
            schemas[-1] == schemas[0],
            f"{path} has columns {', '.join(schemas[-1])}, but {paths[0]} has "
            f"{', '.join(schemas[0])}",
        )

    def read(wanted: Sequence[str]) -> dict[str, np.ndarray]:
        parts: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
        for path in paths:
            try:
                table = parquet.ParquetFile(path).read(list(wanted))
            except (pyarrow.ArrowException, OSError) as error:
                raise DatasetError(_unreadable(path, error)) from error
            for name in wanted:
                parts[name].append(_array(f"{name} of {path}", table.column(name)))
        return {name: _joined(name, arrays) for name, arrays in parts.items()}

    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more files"
    return Table(name, schemas[0], read)


def _unreadable(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        pointer = file.read(12).startswith(b"version http")
    why = "it is a git-LFS pointer: git lfs pull" if pointer else str(error).splitlines()[0]
    return f"{path} is not a parquet file, or it is damaged: {why}"


def _array(what: str, column: Any) -> np.ndarray:
    """A column as an array: numbers (N,), vectors (N, k), or text."""
    import pyarrow
    from pyarrow import types

    column = column.combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):  # of several chunks that are too large for one
        column = pyarrow.concat_arrays(column.chunks)
    require(
        column.null_count == 0, f"{what} has {column.null_count} missing values: remove the rows"
    )
    kind = column.type
    if types.is_dictionary(kind):
        return _array(what, pyarrow.chunked_array([column.dictionary_decode()]))
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        require(
            types.is_primitive(kind) or types.is_string(kind) or types.is_large_string(kind),
            f"{what} is of type {kind}: only numbers, text and vectors of numbers are read",
        )
        array = column.to_numpy(zero_copy_only=False)
        return array.astype(str) if array.dtype == object else array
    flat = column.flatten()
    require(
        types.is_primitive(kind.value_type),
        f"{what} is of type {kind}: only vectors of numbers are read, no pixels",
    )
    require(flat.null_count == 0, f"{what} has {flat.null_count} missing values: remove the rows")
    if len(column) == 0:
        return np.empty((0, 0))
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    other = lengths != lengths[0]
    require(
        not other.any(),
        f"{what} has {lengths[0]} numbers in the first row, but {lengths[other.argmax()]} in row "
        f"{other.argmax()}",
    )
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _joined(name: str, arrays: list[np.ndarray]) -> np.ndarray:
    arrays = [array for array in arrays if len(array)] or arrays[:1]
    shapes = {array.shape[1:] for array in arrays}
    require(len(shapes) == 1, f"{name} has rows of different lengths: {sorted(shapes)}")
    return np.concatenate(arrays)
