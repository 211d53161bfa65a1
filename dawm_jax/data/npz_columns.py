"""Arrays in one .npz file that is never held in memory: written by the block, read where it lies.

The file is as `numpy.savez` writes it: members are stored, not compressed, so that each can be
found in the mapped file.
"""

import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dawm_jax.errors import require

LENGTHS, HEADER = 26, 30  # where the lengths of a zip member's name and extra are; where these are


class Column(NamedTuple):
    """An array of a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int  # bytes from the file's begin to the first entry


def write(
    file: BinaryIO,
    columns: Mapping[str, tuple[np.dtype, tuple[int, ...]]],
    blocks: Callable[[str], Iterable[np.ndarray]],
) -> None:
    """Writes the arrays of the given types and shapes, one after the other.

    Args:
        file: one that can be sought in.
        blocks: blocks(name) are the array's parts along its first axis.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, (dtype, shape) in columns.items():
            descr = np.lib.format.dtype_to_descr(dtype)
            header = {"descr": descr, "fortran_order": False, "shape": shape}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for block in blocks(name):
                    member.write(np.ascontiguousarray(block, dtype).data)


def columns(path: Path) -> dict[str, Column]:
    """What is in a file, by name; the arrays are not read.

    Raises:
        UserError: an array is compressed, or not of plain numbers row after row.
    """
    found = {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                np.lib.format.read_magic(member)
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
                header = member.tell()
            require(
                info.compress_type == zipfile.ZIP_STORED and not fortran and not dtype.hasobject,
                f"'{info.filename}' in {path} cannot be mapped: write the file with numpy.savez, "
                "of arrays of numbers in C order",
            )
            file.seek(info.header_offset + LENGTHS)
            lengths = sum(struct.unpack("<HH", file.read(4)))
            offset = info.header_offset + HEADER + lengths + header
            found[info.filename.removesuffix(".npy")] = Column(dtype, shape, offset)
    return found


def mapped(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, to be read only, by name; what is not used is not in memory.

    They may lie at any byte, which numpy minds in few places: see `take`.
    """
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):  # rows are drawn from anywhere: no neighbours with them
        memory.madvise(mmap.MADV_RANDOM)
    return {
        name: np.ndarray(column.shape, column.dtype, memory, column.offset)
        for name, column in columns(path).items()
    }


def take(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`array[index]`, rows (...,) + `array.shape[1:]`, of an array that may lie at any byte.

    Taken as plain bytes, as numpy would first copy the whole of an array that is not aligned.
    """
    width = array.dtype.itemsize * math.prod(array.shape[1:])
    rows = np.ndarray(len(array), np.dtype((np.void, width)), array.data)
    taken = np.take(rows, index.reshape(-1)).view(array.dtype)
    return taken.reshape(*index.shape, *array.shape[1:])
