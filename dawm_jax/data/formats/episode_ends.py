"""Where the episodes of a log end: by flags, an episode column, or a gap in time."""

from collections.abc import Mapping

import numpy as np

from dawm_jax.data.formats.steps import jumps
from dawm_jax.errors import UserError, require

TRUE, FALSE = ("true", "t", "yes"), ("false", "f", "no")


def ends_of(
    table: str,
    arrays: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
    gap: float | None,
    whole: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether an episode ends with each row, and whether it does so in a terminal state.

    Args:
        arrays: see `steps.cut`.
        columns: those of terminal, timeout, episode and time that are known, (N,) each.
        gap: see `ColumnMap`.
        whole: see `logs.read`.

    Raises:
        UserError: nothing says where episodes end, or the columns are unusable or contradict each
            other.
    """
    require(
        whole
        or gap is not None
        or "next_observations" in arrays
        or bool({"terminal", "timeout", "episode"} & columns.keys()),
        f"nothing says where the episodes of {table} end: name a column that is 1 there "
        "(--terminal, --timeout), one with an episode's number (--episode), or a time and the "
        "longest step (--time, --gap)",
    )
    require(gap is None or gap > 0, f"the gap is {gap}; it must be above 0")
    require(gap is None or "time" in columns, "a gap needs a column of time: name it with --time")
    steps = len(arrays["observations"])
    terminal, timeout = (
        _flags(table, part, columns[part]) if part in columns else np.zeros(steps, bool)
        for part in ("terminal", "timeout")
    )
    ends = terminal | timeout
    if "episode" in columns:
        changes = _changes(table, columns["episode"])
        early = ends & ~changes
        if early.any():
            row = int(early.argmax())
            raise UserError(
                f"the episode {columns['episode'][row]} of {table} continues after row {row}, "
                f"which is marked as its end ({early.sum()} such rows): a flag belongs in the last "
                "row of an episode. If it marks something else, such as success on the way, do "
                "not name it; if it is right, leave the episode column out"
            )
        ends |= changes
    ends |= jumps(arrays)
    if "time" in columns:
        ends |= _gaps(table, columns["time"], ends, gap)
    return ends, terminal


def _flags(table: str, part: str, column: np.ndarray) -> np.ndarray:
    """A column of 0 and 1, or of true and false, as booleans."""
    if column.dtype.kind == "U":
        lower = np.char.lower(column)
        yes, known = np.isin(lower, TRUE), np.isin(lower, TRUE + FALSE)
    else:
        yes, known = column == 1, (column == 0) | (column == 1)
    if not known.all():
        row = int((~known).argmax())
        raise UserError(
            f"the {part} of {table} is {column[row]!s} in row {row}; 0, 1, true or false is "
            "expected"
        )
    return yes


def _changes(table: str, episode: np.ndarray) -> np.ndarray:
    """Whether the next row is of another episode."""
    changes = np.append(episode[1:] != episode[:-1], True)
    starts = np.append(0, np.flatnonzero(changes)[:-1] + 1)
    _, first = np.unique(episode[starts], return_index=True)
    again = np.setdiff1d(np.arange(len(starts)), first)
    if len(again):
        row = int(starts[again[0]])
        raise UserError(
            f"the episode {episode[row]} of {table} begins again in row {row}: sort the rows by "
            "episode and time, and give each episode its own number"
        )
    return changes


def _gaps(table: str, time: np.ndarray, ends: np.ndarray, gap: float | None) -> np.ndarray:
    """Whether more than `gap` passes before the next row; time must increase within an episode."""
    require(
        time.dtype.kind in "iufM",
        f"the time of {table} is of type {time.dtype}, as in '{time[0]}': numbers are expected, "
        "for example seconds",
    )
    # Differences of unsigned numbers cannot be negative.
    passed = np.diff(time.astype(np.int64) if time.dtype.kind in "iu" else time)
    if passed.dtype.kind == "m":
        passed = passed / np.timedelta64(1, "s")
    back = ~ends[:-1] & ~(passed > 0)
    if back.any():
        row = int(back.argmax())
        raise UserError(
            f"time goes from {time[row]} to {time[row + 1]} in row {row + 1} of {table}, within an "
            f"episode ({back.sum()} such rows): it must increase. Sort the rows, remove repeated "
            "ones, or say where episodes end"
        )
    return np.append(passed > gap, False) if gap is not None else np.zeros(len(time), bool)
