"""The episodes of a data set, checked, as columns: one episode after the other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import prod

import numpy as np

from dawm_jax.errors import DatasetError

FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")
Fields = dict[str, np.ndarray]  # of one episode, as they are stored
LARGEST = 1e15  # of a value: the squares and sums of larger ones overflow float32
MEND = "mend the episode, or leave it out of the data set"


@dataclass(frozen=True)
class Columns:
    """E episodes of N steps in all, each with one observation more than steps."""

    observations: np.ndarray  # (N + E, observation_dim) float32
    actions: np.ndarray  # (N, action_dim) float32; as recorded, not scaled
    rewards: np.ndarray  # (N,) float32
    lengths: np.ndarray  # (E,) int64; steps of each episode
    terminated: np.ndarray  # (E,) bool; False where the episode was truncated


def check_columns(
    name: str,
    episodes: Iterable[Fields],
    observation_shape: tuple[int, ...],
    action_shape: tuple[int, ...],
) -> Columns:
    """Puts the episodes of the data set `name` together, if they can be used.

    Shapes and types are looked at in each episode, numbers in whole columns.

    Raises:
        DatasetError: an episode cannot be used; it is told by its number, as is the step.
    """
    row_shapes = dict.fromkeys(FIELDS, ()) | {
        "observations": observation_shape,
        "actions": action_shape,
    }
    pieces = {f: [np.empty((0, prod(shape)), np.float32)] for f, shape in row_shapes.items()}
    lengths = []
    with np.errstate(over="ignore"):  # a number that float32 cannot hold becomes infinite
        for number, episode in enumerate(episodes):
            lengths.append(_check_shapes(f"episode {number} of '{name}'", episode, row_shapes))
            for field, value in episode.items():
                pieces[field].append(value.reshape(len(value), -1).astype(np.float32))
    columns = {field: np.concatenate(pieces.pop(field)) for field in FIELDS}
    steps = np.array(lengths, np.int64)
    end = np.cumsum(steps)
    for field, column in columns.items():
        observations = np.arange(len(steps)) if field == "observations" else 0
        _check_numbers(name, field, column, end - steps + observations)
    over = ((columns["terminations"] != 0) | (columns["truncations"] != 0))[:, 0]
    over[end - 1] = False
    if over.any():
        place, step = _place(over.argmax(), end - steps, name)
        raise DatasetError(
            f"{place} goes on after a terminated or truncated step, number {step}: split it there."
        )
    return Columns(
        observations=columns["observations"],
        actions=columns["actions"],
        rewards=columns["rewards"][:, 0],
        lengths=steps,
        terminated=columns["terminations"][end - 1, 0] != 0,
    )


def _check_shapes(name: str, episode: Fields, row_shapes: dict[str, tuple[int, ...]]) -> int:
    """The number of steps of an episode whose fields have as many rows, of the right shape."""
    steps = len(np.atleast_1d(episode["rewards"]))
    if steps == 0:
        raise DatasetError(f"{name} has no steps: {MEND}.")
    for field, row_shape in row_shapes.items():
        value = episode[field]
        shape = (steps + (field == "observations"), *row_shape)
        if value.shape != shape:
            raise DatasetError(
                f"{name} has {field} of shape {value.shape}, expected {shape}: {MEND}."
            )
        if value.dtype.kind not in "biuf":
            raise DatasetError(
                f"{name} has {field} of type {value.dtype}, expected numbers: {MEND}."
            )
    return steps


def _check_numbers(name: str, field: str, column: np.ndarray, first: np.ndarray) -> None:
    """Raises DatasetError for a number that cannot be used; `first` row of each episode (E,)."""
    if column.min(initial=0.0) >= -LARGEST and column.max(initial=0.0) <= LARGEST:
        return  # not so where there is a NaN
    row = (~(np.abs(column) <= LARGEST)).any(axis=1).argmax()
    episode, step = _place(row, first, name)
    if np.isfinite(column[row]).all():
        raise DatasetError(
            f"{episode} has a value beyond {LARGEST:g} in {field} at step {step}: scale them down."
        )
    raise DatasetError(f"{episode} has a non-finite value in {field} at step {step}: {MEND}.")


def _place(row: np.intp, first: np.ndarray, name: str) -> tuple[str, int]:
    """The episode that `row` belongs to, in words, and the step of it."""
    number = np.searchsorted(first, row, side="right") - 1
    return f"episode {number} of '{name}'", int(row - first[number])


def join(parts: Sequence[Columns]) -> Columns:
    """The episodes of all `parts`, in their order."""
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(Columns)]
    return Columns(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})
