"""NumPy archives as tables. Pickled objects are refused: reading them can run any program."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dawm_jax.data.formats.tables import Table, check_file
from dawm_jax.errors import DatasetError, require

DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError)


def open_npz(path: Path) -> Table:
    """The arrays of a NumPy archive as a table.

    Raises:
        UserError: this is no archive, it is damaged, or it holds pickled objects.
    """
    check_file(path)
    require(zipfile.is_zipfile(path), f"{path} is not a NumPy archive (.npz), or it is cut")

    def read(wanted: Sequence[str]) -> dict[str, np.ndarray]:
        found = {}
        with np.load(path, allow_pickle=False) as archive:
            for name in wanted:
                try:
                    found[name] = np.asarray(archive[name])
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise DatasetError(f"{name} of {path} is damaged: {error}") from error
                    raise DatasetError(
                        f"{name} of {path} holds pickled objects, which are not read as they can "
                        "run any program: save it as an array of numbers"
                    ) from error
                except DAMAGED as error:
                    raise DatasetError(f"{name} of {path} is damaged: {error}") from error
        return found

    try:
        with np.load(path, allow_pickle=False) as archive:
            return Table(path.name, tuple(archive.files), read)
    except (ValueError, *DAMAGED) as error:
        raise DatasetError(f"{path} is not a NumPy archive (.npz): {error}") from error
