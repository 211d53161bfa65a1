"""CSV files with a header line as tables.

Pitfalls, each with a test: a row that is longer or shorter than the header (a file that is cut, a
decimal comma); an empty cell; integers beyond 2^53, such as times in nanoseconds, which a float
would round.
"""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dawm_jax.data.formats.tables import Table, check_file
from dawm_jax.errors import DatasetError, require

DELIMITERS = ",;\t|"


def open_csv(path: Path) -> Table:
    """The table of a CSV file, separated by commas, semicolons, tabs or bars.

    Columns of text come as text; columns of whole numbers without a decimal point as integers.

    Raises:
        UserError: there is no header, two columns have one name, or a row has another length.
    """
    check_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(DELIMITERS, key=first.count)
            names = tuple(name.strip() for name in next(csv.reader([first], delimiter=delimiter)))
            _check_header(path, names)
            for row in csv.reader(file, delimiter=delimiter):
                if len(row) != len(names) and row:
                    raise DatasetError(
                        f"a row of {path} has {len(row)} cells, but the header has {len(names)}: "
                        f"{delimiter.join(row)[:80]}. The file is cut, or numbers have decimal "
                        "commas"
                    )
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file: {error}") from error

    def load(indices: Sequence[int], kind: type) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*contained no data")  # `columns_of` refuses it
            return np.loadtxt(
                path,
                dtype=kind,
                comments=None,
                delimiter=delimiter,
                skiprows=1,
                usecols=indices,
                ndmin=2,
                encoding="utf-8-sig",
                quotechar='"',
            )

    def read(wanted: Sequence[str]) -> dict[str, np.ndarray]:
        indices = [names.index(name) for name in wanted]
        try:
            numbers = list(load(indices, float).T)
        except ValueError:
            numbers = [_column(load([index], str)[:, 0]) for index in indices]
        else:
            for place, column in enumerate(numbers):
                if np.array_equal(column, np.round(column)):
                    numbers[place] = _column(load([indices[place]], str)[:, 0])
        return dict(zip(wanted, numbers, strict=True))

    return Table(path.name, names, read)


def _check_header(path: Path, names: tuple[str, ...]) -> None:
    require(
        any(names),
        f"the first line of {path} is empty; the names of the columns are expected",
    )
    numbers = [name for name in names if _is_number(name)]
    require(
        not numbers,
        f"the first line of {path} holds numbers ({', '.join(numbers[:3])}); the names of the "
        "columns are expected",
    )
    twice = sorted({name for name in names if names.count(name) > 1})
    require(
        not twice, f"{path} has several columns named {', '.join(map(repr, twice))}: rename them"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(texts: np.ndarray) -> np.ndarray:
    """Integers, else numbers, else the texts themselves."""
    for kind in (np.int64, np.float64):
        try:
            return texts.astype(kind)
        except (ValueError, OverflowError):
            continue
    return np.char.strip(texts)
