"""Logs of a robot: a table with a row per step, its columns named by the user.

A row holds an observation, the action taken there and its reward. Pitfalls, each with a test: a log
of N rows has no observation after the last one, so that the last step of an episode is dropped
unless it ends in a terminal state; a gap in time is no transition; an episode that continues after
its end or comes in several parts is not what its columns say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain

import numpy as np

from dawm_jax.data.formats.episode_ends import ends_of
from dawm_jax.data.formats.steps import Recording, check_actions, check_observations, cut
from dawm_jax.data.formats.tables import Table, columns_of, listed
from dawm_jax.errors import UserError, require

VECTORS = ("observation", "action", "next_observation")
SINGLE = ("reward", "terminal", "timeout", "episode", "time")


@dataclass(frozen=True)
class ColumnMap:
    """Which columns of a table are what. In names, * and ? stand for any characters.

    A column may hold a number or a vector per row. None is for what is not named, "" for what is
    not there.
    """

    observation: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    next_observation: tuple[str, ...] = ()  # after the action of the same row
    reward: str | None = None
    terminal: str | None = None  # true in the last row of an episode that the task ended
    timeout: str | None = None  # true in the last row of an episode that something else ended
    episode: str | None = None  # the same in all rows of an episode, different in the next
    time: str | None = None  # increases within an episode
    gap: float | None = None  # a longer time between two rows ends the episode, in units of `time`


def read(table: Table, columns: ColumnMap, whole: bool = False) -> Recording:
    """The episodes of a table.

    Args:
        whole: whether the table is an episode of its own if nothing says where episodes end.

    Raises:
        UserError: columns are missing, unusable or contradict each other, or nothing says where
            episodes end.
    """
    vectors = {
        part: _matching(table, part, patterns)
        for part in VECTORS
        if (patterns := getattr(columns, part)) or part != "next_observation"
    }
    both = sorted(set(vectors["observation"]) & set(vectors["action"]))
    require(not both, f"{', '.join(both)} of {table.name} is both an observation and an action")
    single = {part: name for part in SINGLE if (name := getattr(columns, part))}
    found = columns_of(table, [*chain(*vectors.values()), *single.values()])
    arrays = {
        f"{part}s": _vectors(table.name, part, {name: found[name] for name in names})
        for part, names in vectors.items()
    }
    _check_next(table, arrays)
    values = {
        part: _one_each(f"{name} of {table.name}", found[name]) for part, name in single.items()
    }
    steps = len(arrays["actions"])
    rewards = values.pop("reward", np.zeros(steps))
    check_observations(f"the reward of {table.name}", rewards)
    arrays["rewards"] = _floating(rewards)
    ends, terminal = ends_of(table.name, arrays, values, columns.gap, whole)
    return Recording(
        episodes=list(cut(arrays, ends, terminal)),
        steps=steps,
        observation_names=_features(vectors["observation"], found),
        action_names=_features(vectors["action"], found),
        notes=() if "reward" in single else ("rewards: none in the files; all are 0",),
    )


def _matching(table: Table, part: str, patterns: Sequence[str]) -> tuple[str, ...]:
    """The columns that patterns name, each pattern's in the order of the table."""
    require(
        len(patterns) > 0,
        f"name the columns of the {part} (--{part}); {table.name} has {listed(table.columns)}",
    )
    names: list[str] = []
    for pattern in patterns:
        exact = [name for name in table.columns if name == pattern]
        found = exact or [name for name in table.columns if fnmatchcase(name, pattern)]
        require(
            len(found) > 0,
            f"{table.name} has no column {pattern} for the {part}; it has {listed(table.columns)}",
        )
        names += found
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"the {part} names {', '.join(twice)} twice")
    return tuple(names)


def _vectors(table: str, part: str, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns beside each other, (N, width)."""
    for name, column in columns.items():
        what = f"{name} of {table}"
        if part == "action":
            check_actions(what, column)
        else:
            check_observations(what, column)
        _check_finite(what, column)
    joined = np.hstack([column.reshape(len(column), -1) for column in columns.values()])
    return _floating(joined)


def _floating(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _check_next(table: Table, arrays: dict[str, np.ndarray]) -> None:
    if "next_observations" in arrays:
        widths = [arrays[part].shape[1] for part in ("observations", "next_observations")]
        require(
            widths[0] == widths[1],
            f"the observation of {table.name} has {widths[0]} numbers, but the next observation "
            f"{widths[1]}",
        )


def _one_each(what: str, column: np.ndarray) -> np.ndarray:
    """A column with one value per row, (N,)."""
    require(
        column.size == len(column),
        f"{what} has shape {column.shape}; one value per row is expected",
    )
    _check_finite(what, column)
    return column.reshape(-1)


def _check_finite(what: str, column: np.ndarray) -> None:
    if column.dtype.kind != "f":
        return
    rows = ~np.isfinite(column.reshape(len(column), -1)).all(axis=1)
    if rows.any():
        row = int(rows.argmax())
        raise UserError(
            f"{what} is {column[row]} in row {row} (of {rows.sum()} such rows): remove or repair "
            "them"
        )


def _features(names: Sequence[str], found: dict[str, np.ndarray]) -> tuple[str, ...]:
    """A name for each number of the columns."""
    features: list[str] = []
    for name in names:
        width = found[name].size // len(found[name])
        vector = found[name].ndim > 1
        features += [f"{name}[{i}]" for i in range(width)] if vector else [name]
    return tuple(features)


def joined(recordings: Sequence[Recording]) -> Recording:
    """Recordings of several files as one.

    Raises:
        UserError: they have different features.
    """
    first = recordings[0]
    for number, other in enumerate(recordings):
        for one, another in (
            (first.observation_names, other.observation_names),
            (first.action_names, other.action_names),
        ):
            require(
                one == another,
                f"file {number + 1} has the features {listed(another)}, but the first one has "
                f"{listed(one)}: name the columns one by one",
            )
    return first._replace(
        episodes=[episode for one in recordings for episode in one.episodes],
        steps=sum(one.steps for one in recordings),
    )
