"""Episodes as rows of one .npy file, written in any order and read in theirs.

A row is a step with its next observation, in the environment's units. Nothing larger than a block
is ever in memory.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dawm_jax.data.columns import Fields

BLOCK = 65_536  # rows


def row_type(observation: np.ndarray, action: np.ndarray) -> np.dtype:
    """The type of a row, for observations (..., observation_dim) and actions (..., action_dim)."""
    state = (observation.dtype, observation.shape[-1:])
    return np.dtype(
        [
            ("observation", *state),
            ("action", np.float32, action.shape[-1:]),
            ("reward", np.float32),
            ("next_observation", *state),
            ("terminal", np.bool_),
            ("last", np.bool_),  # of its episode
        ]
    )


def begin(file: BinaryIO, kind: np.dtype, count: int) -> int:
    """Writes the header of a file of `count` rows; returns the offset of the first one."""
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, {**header, "shape": (count,)})
    file.flush()
    return file.tell()


def put(file: BinaryIO, offset: int, rows: np.ndarray, place: np.ndarray) -> None:
    """Writes some rows to their places (N,) in a file whose first row is at `offset`.

    Rows of one episode that are neighbors in the file are written together.
    """
    order = np.argsort(place)
    rows, place = rows[order], place[order]
    runs = np.flatnonzero(np.diff(place, prepend=-2) != 1).tolist()
    for first, end in pairwise([*runs, len(place)]):
        start = offset + int(place[first]) * rows.itemsize
        data = memoryview(rows[first:end].tobytes())
        while data:  # a full disk writes a part first
            written = os.pwrite(file.fileno(), data, start)
            data, start = data[written:], start + written


@dataclass(frozen=True)
class EpisodeRows:
    """A file of whole episodes."""

    path: Path
    kind: np.dtype
    offset: int  # bytes before the first row
    steps: int

    @classmethod
    def of(cls, path: Path) -> "EpisodeRows":
        """The rows of a file."""
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            (steps,), _, kind = np.lib.format.read_array_header_1_0(file)
            return cls(path, kind, file.tell(), steps)

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """All rows, `size` at a time."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for done in range(0, self.steps, size):
                yield np.fromfile(file, self.kind, min(size, self.steps - done))

    def episodes(self, size: int = BLOCK) -> Iterator[Fields]:
        """The episodes in order, with their last observation."""
        rest = np.empty(0, self.kind)
        for block in self.blocks(size):
            rows = np.concatenate([rest, block])
            start = 0
            for stop in (np.flatnonzero(rows["last"]) + 1).tolist():
                yield _fields(rows[start:stop])
                start = stop
            rest = rows[start:]


def _fields(rows: np.ndarray) -> Fields:
    states = [rows["observation"], rows["next_observation"][-1:]]
    return {
        "observations": np.concatenate(states),
        "actions": rows["action"],
        "rewards": rows["reward"],
        "terminations": rows["terminal"],
        "truncations": rows["last"] & ~rows["terminal"],
    }
