"""Checked columns, packed onto the device as a `Dataset`."""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from dawm_jax.data.columns import Columns
from dawm_jax.data.normalizer import SMALLEST
from dawm_jax.data.references import RETURN_SCALES, robot_of
from dawm_jax.errors import DatasetError
from dawm_jax.types import Dataset, Episodes, scale_between

BEYOND = 1e-3  # relative to the range of actions; what lies less beyond it counts as rounding


def pack(
    dataset_id: str,
    columns: Columns,
    action_space: Box,
    discount: float,
    action_bounds: str = "clip",
) -> Dataset:
    """Packs columns onto the device; the return scale is set later.

    Args:
        action_bounds: see `formats.minari.load`.

    Raises:
        DatasetError: actions lie beyond the bounds of the action space and are to be refused.
    """
    lengths = columns.lengths
    if action_bounds == "data":
        action_space = Box(-np.inf, np.inf, action_space.shape)
    low, high = _action_bounds(action_space, columns.actions)
    _check_bounds(dataset_id, columns.actions, low, high, action_bounds)
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
    return Dataset(
        id=dataset_id,
        episodes=Episodes(**{name: jnp.asarray(value) for name, value in arrays.items()}),
        lengths=lengths,
        returns=columns.returns,
        terminated=columns.terminated,
        action_low=low,
        action_high=high,
        observation_origin=columns.origin,
        discount=discount,
        return_scale=1.0,
        environment=None,
        evaluation_environment=None,
        action_space=action_space,
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


def _check_bounds(
    name: str, actions: np.ndarray, low: np.ndarray, high: np.ndarray, action_bounds: str
) -> None:
    """Refuses actions (N, action_dim) beyond the bounds by more than rounding, or warns of them."""
    margin = BEYOND * (high - low)
    share = float(np.mean((actions < low - margin) | (actions > high + margin)))
    if share == 0.0:
        return
    found = (
        f"{share:.1%} of the entries of the actions of '{name}' lie beyond the bounds of its "
        f"action space, from {actions.min():g} to {actions.max():g}"
    )
    advice = "to take the bounds from the data, set action_bounds to 'data'"
    if action_bounds == "refuse":
        raise DatasetError(f"{found}: correct the action space; or, {advice}.")
    warnings.warn(f"{found}: they are clipped; {advice}", stacklevel=4)


def default_return_scale(dataset: Dataset, environment: Any | None) -> float:
    robot = robot_of(environment.id) if environment else ""
    largest = float(np.abs(np.asarray(dataset.episodes.return_to_go)).max())
    return RETURN_SCALES.get(robot, largest if largest > SMALLEST else 1.0)
