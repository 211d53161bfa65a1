"""New Minari data sets, which appear under their ids only when they are complete."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage.datasets_root_dir import get_dataset_path

from dawm_jax.data.columns import Fields
from dawm_jax.data.formats.minari_files import folder_of
from dawm_jax.errors import UserError
from experiments.store.files import locked
from experiments.system.disk_errors import disk_errors_explained
from experiments.system.machine import check_writable

PER_EPISODE = 20_000  # bytes of an HDF5 file, besides the numbers; measured: 15,300


@contextmanager
def new_data_set(dataset_id: str, overwrite: bool) -> Iterator[None]:
    """Within it, `export.minari.write` writes into a hidden folder; at its end it takes its place.

    What is written should be announced by `reserve`.

    Raises:
        UserError: this is no id; the data set exists and may not be overwritten; its folder is not
            writable; another process writes it; the disk is full.
    """
    path = check_new(dataset_id, overwrite)
    root = get_dataset_path()
    # Beside the data sets, so that a rename moves it into place.
    partial = root / f".writing-{dataset_id.replace('/', '-')}"
    replaced = partial / "replaced"
    with (
        disk_errors_explained(root),
        locked(root / f"{partial.name}.lock", f"the writing of '{dataset_id}'"),
    ):
        _put_back(replaced, path)  # of a killed process
        shutil.rmtree(partial, ignore_errors=True)
        _check_missing(dataset_id, path, overwrite)  # again: another process may have written it
        try:
            with _data_sets_in(partial):
                written = get_dataset_path(dataset_id)
                yield
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                path.rename(replaced)
            written.rename(path)
        finally:
            _put_back(replaced, path)
            shutil.rmtree(partial, ignore_errors=True)


def _put_back(replaced: Path, path: Path) -> None:
    """Moves a data set back that was moved aside for one that did not take its place."""
    if replaced.exists() and not path.exists():
        replaced.rename(path)


def check_new(dataset_id: str, overwrite: bool) -> Path:
    """The folder of a data set that can be written; see `new_data_set`."""
    path = folder_of(dataset_id)
    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError):  # TypeError without a version
        raise UserError(
            f"'{dataset_id}' is no id of a data set: it must be a name and a version, such as "
            "robots/arm-v0"
        ) from None
    _check_missing(dataset_id, path, overwrite)
    check_writable(path)
    return path


def _check_missing(dataset_id: str, path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UserError(f"'{dataset_id}' already exists; replace it with --overwrite")


def reserve(numbers: int, episodes: int) -> None:
    """Allocates room for a moment: HDF5 crashes where a disk is full in the middle.

    Args:
        numbers: bytes of all arrays.
    """
    folder = get_dataset_path()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, numbers + PER_EPISODE * (1 + episodes))


def bytes_of(episodes: Iterable[Fields]) -> int:
    """Of all arrays of episodes."""
    return sum(array.nbytes for episode in episodes for array in episode.values())


@contextmanager
def _data_sets_in(root: Path) -> Iterator[None]:
    """Makes Minari, which has no argument for it, use another folder for data sets."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
