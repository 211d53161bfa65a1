"""Checked columns, packed onto the device as a `Dataset`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from dawm_jax.data.columns import Columns
from dawm_jax.data.references import RETURN_SCALES, robot_of
from dawm_jax.types import Dataset, Episodes, scale_between

SMALLEST = 1e-30  # smallest usable scale: devices flush numbers not much smaller to 0


def pack(dataset_id: str, columns: Columns, action_space: Box, discount: float) -> Dataset:
    """Packs columns onto the device; the return scale is set later."""
    lengths = columns.lengths
    low, high = _action_bounds(action_space, columns.actions)
    last = np.cumsum(lengths + 1) - 1
    recorded = np.ones(len(columns.observations), bool)
    recorded[last] = False

    def rows(values: np.ndarray) -> np.ndarray:
        """The values of all steps as float32, with zeros in the last row of each episode."""
        filled = np.zeros((len(recorded), *values.shape[1:]), np.float32)
        filled[recorded] = values
        return filled

    # Simulators clip actions, so a recorded action beyond the bounds acted as the bound.
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
    """g_t = sum over k >= t of gamma^(k - t) r_k, to the end of t's episode, in float64.

    Vectorized over episodes, from their last steps backwards.

    Args:
        reward: (N,) of concatenated episodes.
        lengths: (E,) steps per episode.
    """
    to_go = reward.astype(np.float64)
    longest_first = np.argsort(-lengths, kind="stable")
    last = (np.cumsum(lengths) - 1)[longest_first]
    longer = len(lengths) - np.cumsum(np.bincount(lengths))  # episodes of over 0, 1, ... steps
    for before in range(1, lengths.max()):
        row = last[: longer[before]] - before
        to_go[row] += discount * to_go[row + 1]
    return to_go


def _action_bounds(space: Box, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of the space, or the data's range where they are infinite or equal."""
    with np.errstate(over="ignore"):
        low, high = (edge.reshape(-1).astype(np.float32) for edge in (space.low, space.high))
        bounded = np.isfinite(high - low) & (low < high)
    low = np.where(bounded, low, actions.min(0))
    high = np.where(bounded, high, actions.max(0))
    # Neighboring large float32 numbers are more than 1 apart.
    return low, np.where(high > low, high, low + np.maximum(1.0, np.abs(low)))


def default_return_scale(dataset: Dataset, environment: Any | None) -> float:
    robot = robot_of(environment.id) if environment else ""
    largest = float(np.abs(np.asarray(dataset.episodes.return_to_go)).max())
    return RETURN_SCALES.get(robot, largest if largest > SMALLEST else 1.0)
