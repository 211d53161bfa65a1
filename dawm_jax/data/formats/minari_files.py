"""Finds, downloads, opens and reads Minari data sets."""

import difflib
import warnings
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import h5py
import minari
import numpy as np
from h5py import h5d, h5g, h5s, h5t
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage.datasets_root_dir import get_dataset_path

from dawm_jax.data.columns import FIELDS, Fields
from dawm_jax.errors import DatasetError


def folder_of(dataset_id: str) -> Path:
    """The folder of the data set `dataset_id`; it need not exist.

    Raises:
        DatasetError: the root folder of data sets does not exist and cannot be created.
    """
    try:
        return get_dataset_path(dataset_id)
    except OSError as error:
        raise DatasetError(
            f"the root folder of data sets cannot be created: {error}. "
            "Change MINARI_DATASETS_PATH to a writable folder."
        ) from error


def open_data_set(dataset_id: str, download: bool) -> minari.MinariDataset:
    """The data set `dataset_id`, local or downloaded; its episodes are not read yet.

    Raises:
        DatasetError: the data set does not exist, or its files are damaged.
    """
    folder_of(dataset_id)
    try:
        return minari.load_dataset(dataset_id)
    except FileNotFoundError:
        missing = f"No data set '{dataset_id}' on this machine"
    except Exception as error:  # the error depends on where the file is damaged
        raise _damaged(dataset_id, error) from error
    with warnings.catch_warnings(action="ignore"):  # about other, damaged data sets
        known = sorted(minari.list_local_datasets())
    near = difflib.get_close_matches(dataset_id, known, n=3, cutoff=0.3) or known[:3]
    hint = f"Similar local ids: {', '.join(near) or 'none'}."
    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError):  # TypeError without a version
        raise DatasetError(
            f"{missing}. {hint} An id is a name and a version, as in mujoco/hopper/medium-v0."
        ) from None
    if dataset_id.startswith("local/"):
        raise DatasetError(
            f"{missing}. {hint} Data sets in local/ cannot be downloaded: record it with "
            "experiments.collect, or use another id."
        )
    if not download:
        raise DatasetError(
            f"{missing}. {hint} Allow the download (download=true), or record a data set with "
            "experiments.collect."
        )
    try:
        return minari.load_dataset(dataset_id, download=True)
    except Exception as error:
        raise DatasetError(
            f"{missing}, and the download failed: {_first_line(error)}. {hint} Check the id and "
            "the network, or record a data set with experiments.collect."
        ) from error


def _damaged(dataset_id: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"Data set '{dataset_id}' cannot be read: {_first_line(error)}. Remove its folder, "
        f"{folder_of(dataset_id)}, then download or record it again."
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(" .")[:200]


def read_episodes(dataset: minari.MinariDataset) -> Generator[Fields, None, None]:
    """The episodes, one by one; the file stays open until the generator ends or is closed.

    Raises:
        DatasetError: the files are damaged, which Minari detects only when it reads them.
    """
    try:
        if dataset.storage.metadata.get("data_format") == "hdf5":
            file = dataset.storage.data_path / "main_data.hdf5"
            yield from _read_hdf5(file, dataset.episode_indices.tolist())
        else:
            for episode in dataset.iterate_episodes():
                yield {field: np.asarray(getattr(episode, field)) for field in FIELDS}
    except Exception as error:  # the error depends on where the file is damaged
        raise _damaged(dataset.id, error) from error


def _read_hdf5(path: Path, numbers: Iterable[int]) -> Iterator[Fields]:
    """The episodes `numbers` from a file in the layout of Minari's Dataset Standards.

    Minari's reader takes three times as long, and longer with infos, which are not needed here.
    Most of the time is spent opening small fields, so this one uses h5py's low-level interface and
    creates a numpy type only where it differs from that of the previous episode.
    """
    types: dict[str, tuple[h5t.TypeID, np.dtype, h5t.TypeID]] = {}

    def read(group: h5g.GroupID, field: str) -> np.ndarray:
        stored = h5d.open(group, field.encode())
        kind = stored.get_type()
        if field not in types or not kind.equal(types[field][0]):
            types[field] = kind, kind.dtype, h5t.py_create(kind.dtype)
        _, dtype, kind_in_memory = types[field]
        value = np.empty(stored.shape, dtype)
        stored.read(h5s.ALL, h5s.ALL, value, kind_in_memory)
        return value

    with h5py.File(path) as file:
        for number in numbers:
            group = h5g.open(file.id, f"episode_{number}".encode())
            yield {field: read(group, field) for field in FIELDS}
