"""Rows of steps, cut into episodes; what the readers of files with a row per step share."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from dawm_jax.data.columns import Fields
from dawm_jax.errors import UserError, require


class Recording(NamedTuple):
    """What a reader finds in its files."""

    episodes: list[Fields]
    steps: int  # in the files, with those that are dropped as their next observation is unknown
    observation_names: tuple[str, ...] = ()  # of features, where the format has them
    action_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # lines for the summary


def cut(
    arrays: Mapping[str, np.ndarray], ends: np.ndarray, terminal: np.ndarray
) -> Iterator[Fields]:
    """The episodes of arrays with a row per step, in order.

    What ends without a terminal is truncated, the last episode too. Without `next_observations` the
    last observation of an episode is unknown: after a terminal it is a copy of the one before,
    which nothing depends on; otherwise the last step is dropped.

    Args:
        arrays: observations, actions, rewards and, where known, next_observations, of N rows.
        ends: (N,) whether an episode ends with this step.
        terminal: (N,) whether it ends in a terminal state.
    """
    ends = ends.copy()
    ends[-1] = True
    start = 0
    for stop in np.flatnonzero(ends) + 1:
        if episode := _episode(arrays, start, int(stop), bool(terminal[stop - 1])):
            yield episode
        start = int(stop)


def jumps(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether each row's next observation differs from the following row."""
    found = np.zeros(len(arrays["observations"]), bool)
    if "next_observations" in arrays:
        following, recorded = arrays["observations"][1:], arrays["next_observations"][:-1]
        found[:-1] = ~np.isclose(following, recorded, rtol=1e-4, atol=1e-6).all(axis=1)
    return found


def episode_of(
    observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: bool
) -> Fields:
    """An episode of n steps with n + 1 observations."""
    last = np.arange(len(rewards)) == len(rewards) - 1
    return {
        "observations": observations,
        "actions": actions,
        "rewards": rewards,
        "terminations": last & terminated,
        "truncations": last & (not terminated),
    }


def _episode(
    arrays: Mapping[str, np.ndarray], start: int, stop: int, terminated: bool
) -> Fields | None:
    """The steps `start` .. `stop` as an episode; None if none of them is left."""
    observations = arrays["observations"][start:stop]
    if "next_observations" in arrays:
        observations = np.concatenate([observations, arrays["next_observations"][stop - 1 : stop]])
    elif terminated:
        observations = np.concatenate([observations, observations[-1:]])
    else:
        stop -= 1
    if start == stop:
        return None
    return episode_of(
        observations, arrays["actions"][start:stop], arrays["rewards"][start:stop], terminated
    )


def check_observations(what: str, column: np.ndarray) -> None:
    """Raises UserError unless a column is numbers, (N,) or (N, k)."""
    if column.dtype.kind == "U":
        row, text = _no_number(column)
        raise UserError(f"{what} holds '{text}' in row {row}; numbers are expected")
    require(
        column.dtype.kind in "biuf",
        f"{what} is of type {column.dtype}; numbers are expected",
    )
    require(
        column.ndim <= 2 and column.size > 0,
        f"{what} has shape {column.shape}: vectors of numbers are supported, no pixels",
    )


def check_actions(what: str, column: np.ndarray) -> None:
    """Raises UserError unless a column is floating-point numbers, (N,) or (N, k)."""
    check_observations(what, column)
    require(
        column.dtype.kind == "f",
        f"{what} holds integers ({column.reshape(-1)[0]}, ...): discrete actions are not "
        "supported. If they are amounts of something continuous, write them with a decimal point, "
        "or as floating-point numbers",
    )


def _no_number(column: np.ndarray) -> tuple[int, str]:
    """The first row of a column of text that is no number, and its text."""
    for row, text in enumerate(column.reshape(-1)):
        try:
            float(text)
        except ValueError:
            return row, text
    return 0, column.reshape(-1)[0]
