"""The episodes of a data set, checked and concatenated into columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from math import prod

import numpy as np

from dawm_jax.errors import DatasetError

FIELDS = ("observations", "actions", "rewards", "terminations", "truncations")
Fields = dict[str, np.ndarray]  # of one episode, as stored
LARGEST = 1e15  # squares and sums of larger values overflow float32
FAR = 1e3  # in float32, features further from 0 than this many spreads lose digits of the spread
ADVICE = "fix the episode or remove it from the data set"


@dataclass(frozen=True)
class Columns:
    """E episodes with N steps in total, each with one more observation than steps."""

    observations: np.ndarray  # (N + E, observation_dim) float32, as recorded less the origin
    origin: np.ndarray  # (observation_dim,) float64, see `_centered`
    actions: np.ndarray  # (N, action_dim) float32, as recorded, not scaled
    rewards: np.ndarray  # (N,) float32
    lengths: np.ndarray  # (E,) int64; steps per episode
    terminated: np.ndarray  # (E,) bool; False where the episode was truncated

    @property
    def returns(self) -> np.ndarray:
        """(E,) float64, the undiscounted return of each of at least one episode."""
        first = np.cumsum(self.lengths) - self.lengths
        return np.add.reduceat(self.rewards, first, dtype=np.float64)


def check_columns(
    name: str,
    episodes: Iterable[Fields],
    observation_shape: tuple[int, ...],
    action_shape: tuple[int, ...],
) -> Columns:
    """Checks and concatenates the episodes of the data set `name`.

    Shapes and types are checked per episode, values per column.

    Raises:
        DatasetError: an episode is unusable; the message names its number and the step.
    """
    row_shapes = dict.fromkeys(FIELDS, ()) | {
        "observations": observation_shape,
        "actions": action_shape,
    }
    # Observations are centered before they become float32.
    kinds: dict[str, type] = dict.fromkeys(FIELDS, np.float32) | {"observations": np.float64}
    pieces: dict[str, list[np.ndarray]] = {
        f: [np.empty((0, prod(shape)), kinds[f])] for f, shape in row_shapes.items()
    }
    lengths, resolution = [], 0.0
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite
        for number, episode in enumerate(episodes):
            lengths.append(_check_shapes(f"episode {number} of '{name}'", episode, row_shapes))
            for field, value in episode.items():
                pieces[field].append(value.reshape(len(value), -1).astype(kinds[field]))
            stored = episode["observations"].dtype
            if stored.kind == "f":
                resolution = max(resolution, float(np.finfo(stored).eps))
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
            f"{place} continues after step {step}, which is terminated or truncated: "
            "split the episode there."
        )
    observations, origin = _centered(columns.pop("observations"), resolution)
    return Columns(
        observations=observations,
        origin=origin,
        actions=columns["actions"],
        rewards=columns["rewards"][:, 0],
        lengths=steps,
        terminated=columns["terminations"][end - 1, 0] != 0,
    )


def _check_shapes(name: str, episode: Fields, row_shapes: dict[str, tuple[int, ...]]) -> int:
    """The number of steps of an episode, after checking the shape and type of its fields."""
    steps = len(np.atleast_1d(episode["rewards"]))
    if steps == 0:
        raise DatasetError(f"{name} has no steps: {ADVICE}.")
    for field, row_shape in row_shapes.items():
        value = episode[field]
        shape = (steps + (field == "observations"), *row_shape)
        if value.shape != shape:
            raise DatasetError(
                f"{name} has {field} of shape {value.shape}, expected {shape}: {ADVICE}."
            )
        if value.dtype.kind not in "biuf":
            raise DatasetError(
                f"{name} has {field} of type {value.dtype}, expected numbers: {ADVICE}."
            )
    return steps


def _check_numbers(name: str, field: str, column: np.ndarray, first: np.ndarray) -> None:
    """Raises DatasetError for an unusable number; `first` (E,) is each episode's first row."""
    if column.min(initial=0.0) >= -LARGEST and column.max(initial=0.0) <= LARGEST:
        return  # never with a NaN
    row = (~(np.abs(column) <= LARGEST)).any(axis=1).argmax()
    episode, step = _place(row, first, name)
    if np.isfinite(column[row]).all():
        raise DatasetError(
            f"{episode} has a value beyond {LARGEST:g} in {field} at step {step}: rescale {field}."
        )
    raise DatasetError(f"{episode} has a non-finite value in {field} at step {step}: {ADVICE}.")


def _place(row: np.intp, first: np.ndarray, name: str) -> tuple[str, int]:
    """The name of the episode that contains `row`, and the step in that episode."""
    number = np.searchsorted(first, row, side="right") - 1
    return f"episode {number} of '{name}'", int(row - first[number])


def _centered(observations: np.ndarray, resolution: float) -> tuple[np.ndarray, np.ndarray]:
    """Observations as float32 less an origin, so that no feature loses digits of its spread.

    The origin is 0 except for features far from 0 compared with their spread, where it is the mean;
    not for features that vary by no more than the rounding of the recorded numbers.

    Args:
        observations: (N, observation_dim) float64.
        resolution: relative spacing of the recorded numbers.
    """
    if len(observations) == 0:
        return observations.astype(np.float32), np.zeros(observations.shape[1])
    mean, rounding = observations.mean(0), 4.0 * resolution * np.abs(observations).max(0)
    far = np.abs(mean) > FAR * observations.std(0)
    far &= np.ptp(observations, axis=0) > rounding
    origin = np.where(far, mean, 0.0)
    return (observations - origin).astype(np.float32), origin


def join(parts: Sequence[Columns]) -> Columns:
    """The episodes of all `parts`, in order, with the origin of the first one."""
    if len(parts) == 1:
        return parts[0]
    origin = parts[0].origin
    moved = [(part.observations + (part.origin - origin)).astype(np.float32) for part in parts]
    names = {field.name for field in fields(Columns)} - {"observations", "origin"}
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Columns(observations=np.concatenate(moved), origin=origin, **joined)


def shift_rewards(columns: Columns, shift: float) -> Columns:
    """Adds `shift` to every reward."""
    if shift == 0.0:
        return columns
    return replace(columns, rewards=(columns.rewards + np.float64(shift)).astype(np.float32))


def choose(columns: Columns, episodes: str, share: float) -> Columns:
    """A share of the episodes, at least one, in their order.

    Args:
        episodes: the 'first', 'random' ones (the same every time), or those of the 'best' returns.
        share: of the number of episodes.
    """
    count = len(columns.lengths)
    if count == 0 or share == 1.0:
        return columns
    order = np.arange(count)
    if episodes == "random":
        order = np.random.default_rng(0).permutation(count)
    elif episodes == "best":
        order = np.argsort(-columns.returns, kind="stable")
    kept = np.zeros(count, bool)
    kept[order[: max(1, round(share * count))]] = True
    steps, rows = (np.repeat(kept, columns.lengths + more) for more in (0, 1))
    return replace(
        columns,
        observations=columns.observations[rows],
        actions=columns.actions[steps],
        rewards=columns.rewards[steps],
        lengths=columns.lengths[kept],
        terminated=columns.terminated[kept],
    )
