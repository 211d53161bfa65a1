"""Finds, downloads, opens and reads Minari data sets."""

import difflib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from reprlib import repr as shortened

import h5py
import minari
import numpy as np
from h5py import h5d, h5g, h5s, h5t
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage.datasets_root_dir import get_dataset_path

from dawm_jax.data.columns import Fields
from dawm_jax.data.formats.minari_errors import first_line, unreadable
from dawm_jax.data.formats.minari_parts import stored_parts
from dawm_jax.errors import DatasetError

LONGEST_ID = 200  # characters; longer ones are no file names


def check_id(dataset_id: object) -> None:
    """Raises DatasetError unless `dataset_id` can be an id, before it becomes a path."""
    if not isinstance(dataset_id, str) or not 0 < len(dataset_id) <= LONGEST_ID:
        raise DatasetError(
            f"the id of a data set is {shortened(dataset_id)}; it must be a text of at most "
            f"{LONGEST_ID} characters, such as mujoco/hopper/medium-v0."
        )


def folder_of(dataset_id: str) -> Path:
    """The folder of the data set `dataset_id`; it need not exist.

    Raises:
        DatasetError: this cannot be an id, or the root folder of data sets does not exist and
            cannot be created.
    """
    check_id(dataset_id)
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
        DatasetError: the data set does not exist, its files are damaged, or its metadata contradict
            them.
    """
    folder = folder_of(dataset_id)
    if (folder / "data").is_dir():
        return _opened(dataset_id, folder)
    missing = f"No data set '{dataset_id}' on this machine"
    known = _local_ids()
    near = difflib.get_close_matches(dataset_id, known, n=3, cutoff=0.3) or known[:3]
    hint = f"Similar local ids: {', '.join(near) or 'none'}."
    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError):  # TypeError without a version
        raise DatasetError(
            f"{missing}. {hint} An id is a name and a version, as in {dataset_id}-v0."
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
        minari.download_dataset(dataset_id)
    except Exception as error:
        raise DatasetError(
            f"{missing}, and the download failed: {first_line(error)}. {hint} Check the id and "
            "the network, or record a data set with experiments.collect."
        ) from error
    return _opened(dataset_id, folder)


def _opened(dataset_id: str, folder: Path) -> minari.MinariDataset:
    try:
        metadata = json.loads((folder / "data" / "metadata.json").read_text())
        stored = _stored_episodes(folder / "data", metadata["data_format"])
        claimed = metadata["total_episodes"]
    except Exception as error:  # the error depends on where the file is damaged
        raise unreadable(dataset_id, folder, error) from error
    # Before Minari allocates memory for as many episodes as the metadata name.
    if stored is not None:
        check_count(dataset_id, folder, "episodes", claimed, stored)
    try:
        return minari.MinariDataset(folder / "data")
    except Exception as error:
        raise unreadable(dataset_id, folder, error) from error


def check_count(dataset_id: str, folder: Path, what: str, claimed: object, stored: int) -> None:
    """Raises DatasetError if the metadata name another number of `what` than the files hold."""
    if claimed != stored:
        raise DatasetError(
            f"'{dataset_id}' contradicts itself: its metadata name {shortened(claimed)} {what}, "
            f"but its files hold {stored}. Download or record it again; its folder is {folder}."
        )


def _stored_episodes(data: Path, data_format: str) -> int | None:
    """The number of episodes in the files; None where only Minari can tell."""
    if data_format == "hdf5":
        with h5py.File(data / "main_data.hdf5") as file:
            return sum(name.startswith("episode_") for name in file)
    return sum(path.is_dir() and path.name.isdecimal() for path in data.iterdir()) or None


def _local_ids() -> list[str]:
    """The ids of the folders with metadata, whether they can be read or not."""
    root = get_dataset_path()
    found = (path.parents[1].relative_to(root) for path in root.rglob("data/metadata.json"))
    return sorted(str(name) for name in found if not str(name).startswith("."))


def read_episodes(dataset: minari.MinariDataset) -> Generator[Fields, None, None]:
    """The episodes, one by one; the file stays open until the generator ends or is closed.

    Nested observations and actions are in parts, see `minari_parts`.

    Raises:
        DatasetError: the files are damaged, which Minari detects only when it reads them.
    """
    parts = stored_parts(dataset)
    try:
        if dataset.storage.metadata.get("data_format") == "hdf5":
            file = dataset.storage.data_path / "main_data.hdf5"
            names = {name: part.hdf5 for name, part in parts.items()}
            yield from _read_hdf5(file, dataset.episode_indices.tolist(), names)
        else:
            for episode in dataset.iterate_episodes():
                yield {name: part.of_episode(episode) for name, part in parts.items()}
    except Exception as error:  # the error depends on where the file is damaged
        raise unreadable(dataset.id, dataset.storage.data_path.parent, error) from error


def _read_hdf5(path: Path, numbers: Iterable[int], names: Mapping[str, bytes]) -> Iterator[Fields]:
    """The episodes `numbers` from a file in the layout of Minari's Dataset Standards.

    Minari's reader takes three times as long, and longer with infos, which are not needed here.
    Most of the time is spent opening small fields, so this one uses h5py's low-level interface and
    creates a numpy type only where it differs from that of the previous episode.

    Args:
        names: of the fields, and where each is in an episode's group.
    """
    types: dict[str, tuple[h5t.TypeID, np.dtype, h5t.TypeID]] = {}

    def read(group: h5g.GroupID, field: str) -> np.ndarray:
        stored = h5d.open(group, names[field])
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
            yield {field: read(group, field) for field in names}
