"""Which format files are in, by their content."""

from collections.abc import Sequence
from pathlib import Path

import h5py

from dawm_jax.data.formats import lerobot, ogbench
from dawm_jax.data.formats.npz_table import open_npz
from dawm_jax.errors import UserError, require

FORMATS = ("d4rl", "ogbench", "lerobot", "csv", "npz", "parquet")
LOGS = ("csv", "npz", "parquet")  # tables whose columns the user names
TEXT = (".csv", ".tsv", ".txt")


def format_of(paths: Sequence[Path]) -> str:
    """The format of the first of `paths`.

    Raises:
        UserError: it does not exist or is in none of the formats.
    """
    path = paths[0]
    require(path.exists(), f"{path} does not exist")
    if path.is_dir():
        require(
            (path / lerobot.INFO).exists(),
            f"{path} is a folder without {lerobot.INFO}: it is no LeRobot data set. Name the files "
            "of a log, one episode or more in each",
        )
        return "lerobot"
    with path.open("rb") as file:
        start = file.read(4)
    if h5py.is_hdf5(path):
        return "d4rl"
    if start == b"PAR1":
        return "parquet"
    if start[:2] == b"PK":
        columns = set(open_npz(path).columns)
        states = columns.issuperset(ogbench.NEEDED) and columns & ogbench.MARKS
        return "ogbench" if states and "next_observations" not in columns else "npz"
    if path.suffix.lower() in TEXT:
        return "csv"
    raise UserError(
        f"{path} is in no format that is recognized: name it with --format, one of "
        f"{', '.join(FORMATS)}"
    )
