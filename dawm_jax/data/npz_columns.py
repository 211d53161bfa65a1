"""Arrays in one .npz file that is never held in memory: written in blocks and memory-mapped.

The format is that of `numpy.savez`: members are stored, not compressed, so that each can be mapped.
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

LENGTHS, HEADER = 26, 30  # offsets in a zip member: the lengths of name and extra field; the name


class Column(NamedTuple):
    """An array in a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file to the first entry


def write(
    file: BinaryIO,
    columns: Mapping[str, tuple[np.dtype, tuple[int, ...]]],
    blocks: Callable[[str], Iterable[np.ndarray]],
) -> None:
    """Writes arrays of the given types and shapes, one after the other.

    Args:
        file: a seekable file.
        blocks: blocks(name) yields the array in parts along its first axis.
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
    """The arrays of a file by name, without reading them.

    Raises:
        UserError: an array is compressed, not numeric, or not in C order.
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
                f"'{info.filename}' in {path} cannot be memory-mapped: write the file with "
                "numpy.savez, from numeric arrays in C order",
            )
            file.seek(info.header_offset + LENGTHS)
            lengths = sum(struct.unpack("<HH", file.read(4)))
            offset = info.header_offset + HEADER + lengths + header
            found[info.filename.removesuffix(".npy")] = Column(dtype, shape, offset)
    return found


def memory_map(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name, memory-mapped and read-only.

    They may be unaligned, which is slow in some numpy functions; see `take`.
    """
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):  # random access: no read-ahead
        memory.madvise(mmap.MADV_RANDOM)
    return {
        name: np.ndarray(column.shape, column.dtype, memory, column.offset)
        for name, column in columns(path).items()
    }


def take(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`array[index]`, of shape (*index.shape, *array.shape[1:]), for an unaligned array, too.

    Rows are taken as bytes, because numpy would first copy the whole of an unaligned array.
    """
    width = array.dtype.itemsize * math.prod(array.shape[1:])
    rows = np.ndarray(len(array), np.dtype((np.void, width)), array.data)
    taken = np.take(rows, index.reshape(-1)).view(array.dtype)
    return taken.reshape(*index.shape, *array.shape[1:])
