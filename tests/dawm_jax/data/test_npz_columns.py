"""Columns written block by block and mapped, against numpy's own reading and writing."""

import tracemalloc

import numpy as np
import pytest

from dawm_jax.data import npz_columns
from dawm_jax.errors import UserError

RNG = np.random.default_rng(0)
ARRAYS = {
    "wide": RNG.normal(size=(50, 11)).astype(np.float32),
    "deep": RNG.integers(0, 99, (50, 2, 3)),
    "flags": RNG.random(50) < 0.5,
    "numbers": RNG.normal(size=50),
}


@pytest.fixture(params=["write", "savez"])
def path(request, tmp_path):
    """A file of ARRAYS, written in blocks of 7 or by numpy."""
    path = tmp_path / "arrays.npz"
    if request.param == "savez":
        np.savez(path, **ARRAYS)
        return path
    columns = {name: (array.dtype, array.shape) for name, array in ARRAYS.items()}
    with path.open("wb") as file:
        npz_columns.write(
            file, columns, lambda name: (ARRAYS[name][i : i + 7] for i in range(0, 50, 7))
        )
    return path


def test_numpy_reads_what_was_written(path):
    with np.load(path, allow_pickle=False) as stored:
        assert list(stored) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert stored[name].dtype == array.dtype
            np.testing.assert_array_equal(stored[name], array)


def test_mapped_arrays_and_their_rows(path):
    mapped = npz_columns.memory_map(path)
    index = RNG.integers(0, 50, (4, 5))
    assert list(mapped) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (mapped[name].dtype, mapped[name].shape) == (array.dtype, array.shape)
        assert not mapped[name].flags.writeable
        np.testing.assert_array_equal(mapped[name], array)
        rows = npz_columns.take(mapped[name], index)
        assert rows.flags.aligned
        np.testing.assert_array_equal(rows, array[index])


def test_an_array_that_cannot_be_memory_mapped_is_named(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, one=np.zeros(3))
    with pytest.raises(UserError, match=r"'one\.npy' in .*arrays\.npz cannot be memory-mapped"):
        npz_columns.memory_map(path)
    np.savez(path, two=np.zeros((3, 3)).T[:2])
    npz_columns.memory_map(path)
    np.savez(path, two=np.asfortranarray(np.zeros((3, 2))))
    with pytest.raises(UserError, match=r"'two\.npy' in .* in C order"):
        npz_columns.memory_map(path)


def test_writing_and_reading_rows_do_not_hold_the_whole_array_in_memory(tmp_path):
    path, rows, block = tmp_path / "large.npz", 2_000_000, 10_000
    tracemalloc.start()
    try:
        with path.open("wb") as file:
            npz_columns.write(
                file,
                {"wide": (np.dtype(np.float32), (rows, 4))},
                lambda _: (np.full((block, 4), i, np.float32) for i in range(rows // block)),
            )
        wide = npz_columns.memory_map(path)["wide"]
        taken = npz_columns.take(wide, np.arange(0, rows, block))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(taken[:, 3], np.arange(rows // block))
    assert most < path.stat().st_size / 20
