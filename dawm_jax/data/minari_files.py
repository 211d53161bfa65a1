"""Minari data sets on this machine or Minari's server: found, fetched, opened, read."""

import difflib
import warnings
from pathlib import Path

import minari
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage.datasets_root_dir import get_dataset_path

from dawm_jax.errors import UserError


class DatasetError(UserError):
    """A data set that cannot be found or used; the message says what to do."""


def folder_of(dataset_id: str) -> Path:
    """Where the data set of that id lies, or would lie.

    Raises:
        DatasetError: the folder of all data sets is not there and cannot be made.
    """
    try:
        return get_dataset_path(dataset_id)
    except OSError as error:
        raise DatasetError(
            f"the folder of data sets cannot be made: {error}. Set MINARI_DATASETS_PATH to another"
        ) from error


def open_data_set(dataset_id: str, download: bool) -> minari.MinariDataset:
    """The data set of that id, on this machine or fetched; its episodes are not read yet.

    Raises:
        DatasetError: there is none, or its files are damaged.
    """
    folder_of(dataset_id)
    try:
        return minari.load_dataset(dataset_id)
    except FileNotFoundError:
        missing = f"No data set '{dataset_id}' on this machine"
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise _damaged(dataset_id, error) from error
    with warnings.catch_warnings(action="ignore"):  # on damaged ones, which are not asked for
        known = sorted(minari.list_local_datasets())
    near = difflib.get_close_matches(dataset_id, known, n=3, cutoff=0.3) or known[:3]
    there = f"Nearest here: {', '.join(near) or 'none'}."
    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError):  # the former without a version
        raise DatasetError(
            f"{missing}. {there} An id is a name and a version, as in mujoco/hopper/medium-v0."
        ) from None
    if dataset_id.startswith("local/"):
        raise DatasetError(
            f"{missing}. {there} Data sets of local/ are not downloaded: record it with "
            "experiments.collect, or give another id."
        )
    if not download:
        raise DatasetError(
            f"{missing}. {there} Allow its download (download=true), or record one with "
            "experiments.collect."
        )
    try:
        return minari.load_dataset(dataset_id, download=True)
    except Exception as error:
        raise DatasetError(
            f"{missing}, and its download failed: {_first_line(error)}. {there} Check the id and "
            "the network, or record one with experiments.collect."
        ) from error


def _damaged(dataset_id: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"Data set '{dataset_id}' cannot be read: {_first_line(error)}. Remove its folder, "
        f"{folder_of(dataset_id)}, then download or record it again."
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(" .")[:200]


def read_episodes(dataset: minari.MinariDataset) -> list[minari.EpisodeData]:
    """All its episodes.

    Raises:
        DatasetError: its files are damaged, which Minari does not see before.
    """
    try:
        return list(dataset.iterate_episodes())
    except Exception as error:  # as above
        raise _damaged(dataset.id, error) from error
