"""The cache of checked columns: a data set is read once, and a stale cache is never used."""

import errno
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from threading import Barrier

import h5py
import jax
import minari
import numpy as np
import pytest
from stored import buffer, episodes, write

from dawm_jax.data import column_cache
from dawm_jax.data.column_cache import NAME, cached
from dawm_jax.data.columns import Columns
from dawm_jax.data.formats import minari as minari_source
from dawm_jax.data.formats.minari import load
from dawm_jax.errors import DatasetError
from dawm_jax.types import Dataset

LONG_AGO = 1_600_000_000_000_000_000  # ns


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def walk(root):
    """The folder of a data set that is no longer written to."""
    write("walk-v0", map(buffer, episodes()))
    settle(root / "walk-v0")
    return root / "walk-v0"


def settle(folder, time=LONG_AGO):
    for path in (folder / "data").iterdir():
        os.utime(path, ns=(time, time))


@pytest.fixture
def unread(monkeypatch):
    """From now on, reading an episode fails."""

    def refuse():
        def read_episodes(part):
            raise AssertionError(f"read {part.id}")

        monkeypatch.setattr(minari_source, "read_episodes", read_episodes)

    return refuse


def check_equal(one, other):
    """Checks bit-identity, except for the origin."""
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "id":
            continue
        if field.name in ("action_space", "observation_layout", "action_layout"):
            assert a == b
            continue
        assert jax.tree.structure(a) == jax.tree.structure(b)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            assert type(x) is type(y)
            assert getattr(x, "dtype", None) == getattr(y, "dtype", None)
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def uncached(name, **arguments) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minari_source, "cached", lambda data, make: make())
        return load(name, **arguments)


def test_a_second_load_reads_no_episode_and_returns_the_same_data(walk, unread):
    first = load("walk-v0")
    unread()
    for arguments in ({}, {"discount": 0.9, "return_scale": 7.0}):
        again = load("walk-v0", **arguments)
        with pytest.raises(AssertionError, match="read walk-v0"):
            uncached("walk-v0")
    check_equal(load("walk-v0"), first)
    assert again.discount == 0.9
    assert {path.name for path in walk.iterdir()} == {"data", NAME}


def test_other_arguments_give_the_same_data_with_and_without_the_cache(walk):
    load("walk-v0")
    arguments = {"discount": 0.9, "return_scale": 7.0}
    check_equal(load("walk-v0", **arguments), uncached("walk-v0", **arguments))


def test_each_part_of_joined_data_sets_has_its_own_cache(root, walk, unread):
    write("run-v0", map(buffer, episodes(1)))
    settle(root / "run-v0")
    expected = uncached("run-v0+walk-v0")
    for name in ("walk-v0", "run-v0"):
        load(name)
    unread()
    check_equal(load("run-v0+walk-v0"), expected)


def append(walk):
    minari.load_dataset("walk-v0").update_dataset_from_buffer(
        [buffer(episode) for episode in episodes(5, [(3, True)])]
    )


def rewrite(walk):
    """Changes a number, but no name, size or metadata."""
    file = walk / "data" / "main_data.hdf5"
    size = file.stat().st_size
    with h5py.File(file, "a") as content:
        content["episode_1"]["rewards"][0] = 3.0
    assert file.stat().st_size == size


def narrow(walk):
    """Changes the action space in metadata.json, at the same length."""
    file = walk / "data" / "metadata.json"
    text = file.read_text()
    metadata = json.loads(text)
    metadata["action_space"] = metadata["action_space"].replace("1.0", "0.5")
    file.write_text(json.dumps(metadata))
    assert file.stat().st_size == len(text)


@pytest.mark.filterwarnings("ignore:.* lie beyond the bounds")  # narrow
@pytest.mark.parametrize("change", [append, rewrite, narrow])
def test_a_changed_data_set_is_read_again(walk, unread, change):
    before = load("walk-v0")
    change(walk)
    for settled in (False, True):
        if settled:
            settle(walk, LONG_AGO + 1)
        changed = load("walk-v0")
        check_equal(changed, uncached("walk-v0"))
        with pytest.raises(AssertionError):
            check_equal(changed, before)
    unread()
    check_equal(load("walk-v0"), changed)


def test_a_cache_of_another_version_is_not_used(walk, unread, monkeypatch):
    load("walk-v0")
    monkeypatch.setattr(column_cache, "VERSION", column_cache.VERSION + 1)
    unread()
    with pytest.raises(AssertionError, match="read walk-v0"):
        load("walk-v0")


def test_recently_written_data_are_not_cached(root):
    """A change within one tick of the file system's clock would go unnoticed."""
    write("walk-v0", map(buffer, episodes()))
    load("walk-v0")
    assert not (root / "walk-v0" / NAME).exists()


def test_data_that_change_during_reading_are_not_cached(walk, monkeypatch):
    read = minari_source.read_episodes

    def read_and_change(part):
        yield from read(part)
        settle(walk, LONG_AGO + 1)

    monkeypatch.setattr(minari_source, "read_episodes", read_and_change)
    load("walk-v0")
    assert not (walk / NAME).exists()


def test_rejected_data_are_not_cached(root):
    first, second = episodes(ends=[(5, False), (4, False)])
    write("broken-v0", [buffer(first), buffer(second, rewards=np.full(4, np.nan))])
    settle(root / "broken-v0")
    for _ in range(2):
        with pytest.raises(DatasetError, match="episode 1 of 'broken-v0' has a non-finite"):
            load("broken-v0")
    assert not (root / "broken-v0" / NAME).exists()


class Trap:
    def __reduce__(self):
        return Path.touch, (Path(os.environ["MINARI_DATASETS_PATH"]) / "sprung",)


def other_arrays(path):
    with path.open("wb") as file:
        np.savez(file, rewards=np.zeros(3))


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no arrays"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "other_arrays": other_arrays,
    "pickle": lambda path: path.write_bytes(pickle.dumps(Trap())),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_ignored_and_written_again(root, walk, unread, damage):
    expected = load("walk-v0")
    whole = (walk / NAME).stat().st_size
    DAMAGES[damage](walk / NAME)
    check_equal(load("walk-v0"), expected)
    assert (walk / NAME).stat().st_size == whole
    assert not (root / "sprung").exists()
    unread()
    check_equal(load("walk-v0"), expected)


COLUMNS = Columns(
    observations=np.arange(10, dtype=np.float32).reshape(5, 2),
    origin=np.zeros(2),
    actions=np.arange(3, dtype=np.float32)[:, None],
    rewards=np.arange(3, dtype=np.float32),
    lengths=np.array([1, 2]),
    terminated=np.array([True, False]),
)


@pytest.fixture
def data(tmp_path):
    """A folder that could contain `COLUMNS`."""
    folder = tmp_path / "walk" / "data"
    folder.mkdir(parents=True)
    (folder / "file").touch()
    settle(folder.parent)
    return folder


def test_a_flipped_byte_never_changes_the_data(data):
    """Some bytes do not matter, such as the archive's time stamps."""
    check_equal(cached(data, lambda: COLUMNS), COLUMNS)
    path = data.parent / NAME
    whole = path.read_bytes()
    places = range(0, len(whole), 5)
    made = []
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        check_equal(cached(data, lambda: made.append(1) or COLUMNS), COLUMNS)
    assert len(places) / 2 < len(made) < len(places)


@pytest.mark.parametrize("name", ["observations", "lengths"])
def test_every_flipped_bit_of_an_array_s_header_is_found(data, name):
    """Also in its shape, by which numpy reads less than what the checksum covers."""
    cached(data, lambda: COLUMNS)
    path = data.parent / NAME
    whole = path.read_bytes()
    start = whole.index(b"\x93NUMPY", whole.index(f"{name}.npy".encode()))
    end = whole.index(b"\n", start) + 1
    for place in range(start, end):
        for bit in range(8):
            changed = bytes([whole[place] ^ (1 << bit)])
            path.write_bytes(whole[:place] + changed + whole[place + 1 :])
            made = []
            check_equal(cached(data, lambda made=made: made.append(1) or COLUMNS), COLUMNS)
            assert made, (place - start, bit)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_failed_write_leaves_no_cache(walk, monkeypatch, code):
    def fail(file, **arrays):
        file.write(b"some of it")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(column_cache.np, "savez", fail)
    check_equal(load("walk-v0"), uncached("walk-v0"))
    assert [path.name for path in walk.iterdir()] == ["data"]


def test_a_read_only_folder_is_loaded_without_a_cache(walk):
    walk.chmod(0o555)
    try:
        check_equal(load("walk-v0"), uncached("walk-v0"))
    finally:
        walk.chmod(0o755)


def test_a_folder_at_the_path_of_the_cache_is_left_alone(walk):
    (walk / NAME / "mine").mkdir(parents=True)
    check_equal(load("walk-v0"), uncached("walk-v0"))
    assert {path.name for path in walk.iterdir()} == {"data", NAME}
    assert (walk / NAME / "mine").exists()


def test_concurrent_writers_leave_one_valid_cache(data):
    together = Barrier(8)

    def make():
        together.wait(60)
        return COLUMNS

    with ThreadPoolExecutor(8) as pool:
        for columns in pool.map(lambda _: cached(data, make), range(8)):
            check_equal(columns, COLUMNS)
    assert {path.name for path in data.parent.iterdir()} == {"data", NAME}
    check_equal(cached(data, lambda: pytest.fail("made again")), COLUMNS)


def test_minari_ignores_the_cache(root, walk):
    before = minari.list_local_datasets()
    load("walk-v0")
    assert (walk / NAME).exists()
    assert minari.list_local_datasets() == before
    assert minari.load_dataset("walk-v0").total_steps == 14
    minari.delete_dataset("walk-v0")
    assert list(root.iterdir()) == []
