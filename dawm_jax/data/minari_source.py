"""Minari data sets: found or downloaded, validated, then put on the device."""

import difflib
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import minari
import numpy as np
from gymnasium.spaces import Box, Space
from scipy.signal import lfilter

from dawm_jax.data.references import REFERENCE_SCORES, RETURN_SCALES, robot_of
from dawm_jax.errors import UserError, require
from dawm_jax.types import Dataset, Episodes, scale_between


class DatasetError(UserError):
    """A data set that cannot be found or used; the message says what to do."""


def load(
    dataset_id: str,
    *,
    discount: float = 0.99,
    return_scale: float | None = None,
    download: bool = False,
) -> Dataset:
    """Loads one Minari data set, or several as one.

    Args:
        dataset_id: a Minari id, or several joined by "+".
        discount: gamma of the return-to-go and of the transitions.
        return_scale: what divides the return-to-go. Unless given it is DWM's for Hopper, Walker2d
            and HalfCheetah, and else the largest absolute return-to-go in the data.
        download: fetch from Minari's server what is not on this machine.

    Raises:
        UserError: an id is unknown, the data cannot be used, or an argument is out of range.
    """
    require(
        return_scale is None or return_scale > 0.0,
        f"return_scale is {return_scale}; it must be positive",
    )
    require(0.0 < discount <= 1.0, f"discount is {discount}; it must be above 0 and at most 1")
    parts = [_open(name, download) for name in dataset_id.split("+")]
    spaces = [(part.observation_space, part.action_space) for part in parts]
    for part, (observation_space, action_space) in zip(parts, spaces, strict=True):
        _check_space(part.id, "observation", observation_space)
        _check_space(part.id, "action", action_space)
        if (observation_space.shape, action_space) != (spaces[0][0].shape, spaces[0][1]):
            raise DatasetError(
                f"'{part.id}' has observations {observation_space} and actions {action_space}, the "
                f"first data set of '{dataset_id}' {spaces[0][0]} and {spaces[0][1]}. "
                "Join data sets of one robot only."
            )
    environments = {part.env_spec.id: part.env_spec for part in parts if part.env_spec}
    if len(environments) > 1:
        raise DatasetError(
            f"'{dataset_id}' joins data of {', '.join(environments)}. "
            "Join data sets of one robot only."
        )
    episodes = [
        _check_episode(f"episode {index} of '{part.id}'", episode, *spaces[0])
        for part in parts
        for index, episode in enumerate(_read(part))
    ]
    if not episodes:
        raise DatasetError(f"'{dataset_id}' has no episodes: collect or download it again.")
    environment = next(iter(environments.values()), None)
    dataset = _pack(dataset_id, episodes, spaces[0][1], discount)
    return replace(
        dataset,
        environment=environment,
        return_scale=return_scale or _return_scale(dataset, environment),
        reference_scores=_reference_scores(parts[0].storage.metadata, environment),
    )


def _open(dataset_id: str, download: bool) -> minari.MinariDataset:
    try:
        return minari.load_dataset(dataset_id)
    except FileNotFoundError:
        missing = f"No data set '{dataset_id}' on this machine"
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise DatasetError(f"Data set '{dataset_id}' cannot be opened: {error}") from error
    known = sorted(minari.list_local_datasets())
    near = difflib.get_close_matches(dataset_id, known, n=3, cutoff=0.3) or known[:3]
    there = f"Nearest here: {', '.join(near) or 'none'}."
    if not download or dataset_id.startswith("local/"):
        raise DatasetError(
            f"{missing}. {there} Allow its download, or record one with experiments.collect."
        )
    try:
        return minari.load_dataset(dataset_id, download=True)
    except Exception as error:
        raise DatasetError(f"{missing}, and its download failed: {error}. {there}") from error


def _read(dataset: minari.MinariDataset) -> list[minari.EpisodeData]:
    try:
        return list(dataset.iterate_episodes())
    except Exception as error:  # as above; Minari opens the file only now
        raise DatasetError(
            f"Data set '{dataset.id}' cannot be read: {error}. Download or record it again."
        ) from error


def _check_space(dataset_id: str, role: str, space: Space[Any]) -> None:
    if not isinstance(space, Box) or space.dtype == np.uint8:
        raise DatasetError(
            f"'{dataset_id}' has {role} space {space}: only Box spaces of vectors are supported."
        )


def _check_episode(
    name: str, episode: minari.EpisodeData, observation_space: Box, action_space: Box
) -> dict[str, np.ndarray]:
    """The episode as float32 arrays: observations (n + 1, d), actions (n, a), rewards (n,)."""
    steps = len(episode.rewards)
    if steps == 0:
        raise DatasetError(f"{name} has no steps: remove it from the data set.")
    arrays = {
        "observations": (episode.observations, (steps + 1, *observation_space.shape)),
        "actions": (episode.actions, (steps, *action_space.shape)),
        "rewards": (episode.rewards, (steps,)),
        "terminations": (episode.terminations, (steps,)),
        "truncations": (episode.truncations, (steps,)),
    }
    checked = {}
    for field, (value, shape) in arrays.items():
        value = np.asarray(value)
        if value.shape != shape:
            raise DatasetError(f"{name} has {field} of shape {value.shape}, expected {shape}.")
        with np.errstate(over="ignore"):
            value = value.reshape(len(value), -1).astype(np.float32)
        if not np.isfinite(value).all():
            row = int(np.argwhere(~np.isfinite(value))[0][0])
            raise DatasetError(f"{name} has a non-finite value in {field} at step {row}.")
        checked[field] = value
    if (checked["terminations"] + checked["truncations"])[:-1].any():
        raise DatasetError(f"{name} goes on after a terminated or truncated step: split it there.")
    checked["rewards"] = checked["rewards"][:, 0]
    return checked


def _pack(
    dataset_id: str, episodes: list[dict[str, np.ndarray]], action_space: Box, discount: float
) -> Dataset:
    """Concatenates checked episodes; the return scale is not set yet."""
    lengths = np.array([len(episode["rewards"]) for episode in episodes])
    terminated = np.array([bool(episode["terminations"][-1, 0]) for episode in episodes])
    actions = np.concatenate([episode["actions"] for episode in episodes])
    low, high = _action_bounds(action_space, actions)
    unit_actions = np.zeros((len(actions) + len(lengths), actions.shape[1]), np.float32)
    rewards = np.zeros(len(unit_actions), np.float32)
    last = np.cumsum(lengths + 1) - 1
    recorded = np.ones(len(unit_actions), bool)
    recorded[last] = False
    # A simulator clips what it is given, so a recorded action beyond the bounds was the bound.
    unit_actions[recorded] = scale_between(np.clip(actions, low, high), low, high)
    rewards[recorded] = np.concatenate([episode["rewards"] for episode in episodes])
    row = np.arange(len(unit_actions))
    to_go = [np.append(return_to_go(episode["rewards"], discount), 0.0) for episode in episodes]
    arrays = {
        "observation": np.concatenate([episode["observations"] for episode in episodes]),
        "action": unit_actions,
        "reward": rewards,
        "return_to_go": np.concatenate(to_go).astype(np.float32),
        "steps_left": (np.repeat(last, lengths + 1) - row).astype(np.int32),
        "terminated": np.repeat(terminated, lengths + 1),
    }
    return Dataset(
        id=dataset_id,
        episodes=Episodes(**{name: jnp.asarray(value) for name, value in arrays.items()}),
        lengths=lengths,
        returns=np.array([episode["rewards"].sum(dtype=np.float64) for episode in episodes]),
        terminated=terminated,
        action_low=low,
        action_high=high,
        discount=discount,
        return_scale=1.0,
        environment=None,
        reference_scores=None,
    )


def return_to_go(reward: np.ndarray, discount: float) -> np.ndarray:
    """g_t = sum over k >= t of gamma^(k - t) r_k, for the rewards (n,) of one episode."""
    return lfilter([1.0], [1.0, -discount], reward[::-1].astype(np.float64))[::-1]


def _action_bounds(space: Box, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The space's bounds; where one is infinite, or both are equal, the data's range."""
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    with np.errstate(over="ignore"):
        bounded = np.isfinite(high - low) & (low < high)
    low = np.where(bounded, low, actions.min(0))
    high = np.where(bounded, high, actions.max(0))
    high = np.where(high > low, high, low + 1.0)
    return low.astype(np.float32), high.astype(np.float32)


def _return_scale(dataset: Dataset, environment: Any | None) -> float:
    robot = robot_of(environment.id) if environment else ""
    largest = float(jnp.abs(dataset.episodes.return_to_go).max())
    return RETURN_SCALES.get(robot, largest or 1.0)


def _reference_scores(
    metadata: dict[str, Any], environment: Any | None
) -> tuple[float, float] | None:
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is not None and high is not None:
        return float(low), float(high)
    return REFERENCE_SCORES.get(robot_of(environment.id)) if environment else None
