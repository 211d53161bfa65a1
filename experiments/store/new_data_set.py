"""New Minari data sets, which appear under their ids only when they are complete."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minari
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer
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
    """Within it, `write` writes the data set into a hidden folder; at its end it takes its place.

    Raises:
        UserError: this is no id; the data set exists and may not be overwritten; its folder is not
            writable; another process writes it; the disk is full.
    """
    path = folder_of(dataset_id)
    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError):  # TypeError without a version
        raise UserError(
            f"'{dataset_id}' is no id of a data set: it must be a name and a version, such as "
            "robots/arm-v0"
        ) from None
    check_writable(path)
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
        if path.exists() and not overwrite:
            raise UserError(f"'{dataset_id}' already exists; replace it with --overwrite")
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


def write(
    dataset_id: str,
    episodes: Iterable[Fields],
    *,
    environment: Any = None,
    spaces: tuple[Box, Box] | None = None,
    reference_scores: tuple[float, float] | None = None,
    **about: Any,
) -> None:
    """Writes episodes as a data set, inside `new_data_set`.

    Args:
        environment: the id or specification of the environment that they are from, if known.
        spaces: of observations and actions; the environment's unless given.
        reference_scores: returns that score 0 and 100.
        about: further arguments of Minari, such as description.
    """
    parts = list(episodes)
    numbers = sum(field.nbytes for episode in parts for field in episode.values())
    _reserve(get_dataset_path(), numbers + PER_EPISODE * (1 + len(parts)))
    if spaces:
        about |= {"observation_space": spaces[0], "action_space": spaces[1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on metadata that local data sets lack
        minari.create_dataset_from_buffers(
            dataset_id,
            [EpisodeBuffer(id=i, infos={}, **episode) for i, episode in enumerate(parts)],
            env=environment,
            ref_min_score=reference_scores and reference_scores[0],
            ref_max_score=reference_scores and reference_scores[1],
            data_format="hdf5",
            **about,
        )


def _reserve(folder: Path, size: int) -> None:
    """Allocates `size` bytes for a moment: HDF5 crashes where a disk is full in the middle."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)


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
