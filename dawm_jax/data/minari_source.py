"""Minari data sets: validated, then put on the device."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import minari
import numpy as np
from gymnasium.spaces import Box, Space

from dawm_jax.data.column_cache import cached
from dawm_jax.data.columns import LARGEST, Columns, check_columns, join
from dawm_jax.data.minari_files import DatasetError, open_data_set, read_episodes
from dawm_jax.data.references import REFERENCE_SCORES, RETURN_SCALES, robot_of
from dawm_jax.settings import Factor, Positive, check_value
from dawm_jax.types import Dataset, Episodes, scale_between

SMALLEST = 1e-30  # of a scale: devices take numbers not far below it for 0


def load(
    dataset_id: str,
    *,
    discount: float = 0.99,
    return_scale: float | None = None,
    download: bool = False,
) -> Dataset:
    """Loads one Minari data set, or several as one.

    What is read and checked is kept in each one's folder, which makes the next time fast.

    Args:
        dataset_id: a Minari id, or several joined by "+".
        discount: gamma of the return-to-go and of the transitions.
        return_scale: what divides the return-to-go. Unless given it is DWM's for Hopper, Walker2d
            and HalfCheetah, and else the largest absolute return-to-go in the data.
        download: fetch from Minari's server what is not on this machine.

    Raises:
        UserError: an id is unknown, the data cannot be used, or an argument is out of range.
    """
    check_value("discount", discount, Factor)
    check_value("return_scale", return_scale, Positive | None)
    parts = [open_data_set(name, download) for name in dataset_id.split("+")]
    spaces = [(part.observation_space, part.action_space) for part in parts]
    for part, (observation_space, action_space) in zip(parts, spaces, strict=True):
        _check_space(part.id, "observation", observation_space)
        _check_space(part.id, "action", action_space)
        if (observation_space.shape, action_space) != (spaces[0][0].shape, spaces[0][1]):
            raise DatasetError(
                f"'{part.id}' has observations {_brief(observation_space)} and actions "
                f"{_brief(action_space)}, the first data set of '{dataset_id}' "
                f"{_brief(spaces[0][0])} and {_brief(spaces[0][1])}. "
                "Join data sets of one robot only."
            )
    environments = {part.env_spec.id: part.env_spec for part in parts if part.env_spec}
    if len(environments) > 1:
        raise DatasetError(
            f"'{dataset_id}' joins data of {', '.join(environments)}. "
            "Join data sets of one robot only."
        )
    columns = join([_columns(part) for part in parts])
    if len(columns.lengths) == 0:
        raise DatasetError(f"'{dataset_id}' has no episodes: collect or download it again.")
    environment = next(iter(environments.values()), None)
    dataset = _pack(dataset_id, columns, spaces[0][1], discount)
    return replace(
        dataset,
        environment=environment,
        return_scale=return_scale or _return_scale(dataset, environment),
        reference_scores=_reference_scores(parts[0].storage.metadata, environment),
    )


def _check_space(dataset_id: str, role: str, space: Space[Any]) -> None:
    if not isinstance(space, Box) or space.dtype == np.uint8:
        raise DatasetError(
            f"'{dataset_id}' has {role} space {_brief(space)}: only Box spaces of vectors are "
            "supported. Use a data set of vector observations and continuous actions."
        )
    if 0 in space.shape:
        raise DatasetError(
            f"'{dataset_id}' has {role} space {_brief(space)}, which holds no number."
        )


def _brief(space: Space[Any]) -> str:
    text = str(space)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _columns(part: minari.MinariDataset) -> Columns:
    """The checked columns of a data set, which is read where they are not kept."""

    def make() -> Columns:
        shapes = part.observation_space.shape, part.action_space.shape
        with closing(read_episodes(part)) as episodes:
            return check_columns(part.id, episodes, *shapes)

    return cached(part.storage.data_path, make)


def _pack(dataset_id: str, columns: Columns, action_space: Box, discount: float) -> Dataset:
    """The columns as rows on the device; the return scale is not set yet."""
    lengths = columns.lengths
    low, high = _action_bounds(action_space, columns.actions)
    last = np.cumsum(lengths + 1) - 1
    recorded = np.ones(len(columns.observations), bool)
    recorded[last] = False

    def rows(values: np.ndarray) -> np.ndarray:
        """The values of all steps as float32, with a zero in each episode's last row."""
        filled = np.zeros((len(recorded), *values.shape[1:]), np.float32)
        filled[recorded] = values
        return filled

    # A simulator clips what it is given, so a recorded action beyond the bounds was the bound.
    unit_actions = scale_between(np.clip(columns.actions, low, high), low, high)
    row = np.arange(len(recorded))
    arrays = {
        "observation": columns.observations,
        "action": rows(unit_actions),
        "reward": rows(columns.rewards),
        "return_to_go": rows(return_to_go(columns.rewards, lengths, discount)),
        "steps_left": (np.repeat(last, lengths + 1) - row).astype(np.int32),
        "terminated": np.repeat(columns.terminated, lengths + 1),
    }
    first = np.cumsum(lengths) - lengths
    return Dataset(
        id=dataset_id,
        episodes=Episodes(**{name: jnp.asarray(value) for name, value in arrays.items()}),
        lengths=lengths,
        returns=np.add.reduceat(columns.rewards, first, dtype=np.float64),
        terminated=columns.terminated,
        action_low=low,
        action_high=high,
        discount=discount,
        return_scale=1.0,
        environment=None,
        reference_scores=None,
    )


def return_to_go(reward: np.ndarray, lengths: np.ndarray, discount: float) -> np.ndarray:
    """g_t = sum over k >= t of gamma^(k - t) r_k to the end of t's episode, in float64.

    All episodes at once, from their last steps backwards.

    Args:
        reward: (N,) of episodes one after the other.
        lengths: (E,) steps of each.
    """
    to_go = reward.astype(np.float64)
    longest_first = np.argsort(-lengths, kind="stable")
    last = (np.cumsum(lengths) - 1)[longest_first]
    longer = len(lengths) - np.cumsum(np.bincount(lengths))  # episodes of more than so many steps
    for before in range(1, lengths.max()):
        row = last[: longer[before]] - before
        to_go[row] += discount * to_go[row + 1]
    return to_go


def _action_bounds(space: Box, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The space's bounds; where one is infinite, or both are equal, the data's range."""
    with np.errstate(over="ignore"):
        low, high = (edge.reshape(-1).astype(np.float32) for edge in (space.low, space.high))
        bounded = np.isfinite(high - low) & (low < high)
    low = np.where(bounded, low, actions.min(0))
    high = np.where(bounded, high, actions.max(0))
    # 1 is less than the distance of one float32 to the next where they are large.
    return low, np.where(high > low, high, low + np.maximum(1.0, np.abs(low)))


def _return_scale(dataset: Dataset, environment: Any | None) -> float:
    robot = robot_of(environment.id) if environment else ""
    largest = float(np.abs(np.asarray(dataset.episodes.return_to_go)).max())
    return RETURN_SCALES.get(robot, largest if largest > SMALLEST else 1.0)


def _reference_scores(
    metadata: dict[str, Any], environment: Any | None
) -> tuple[float, float] | None:
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is not None and high is not None:
        if not -LARGEST < low < high < LARGEST:
            raise DatasetError(
                f"reference scores are {low} and {high}: correct ref_min_score and ref_max_score "
                "in the metadata of the data set."
            )
        return float(low), float(high)
    return REFERENCE_SCORES.get(robot_of(environment.id)) if environment else None
