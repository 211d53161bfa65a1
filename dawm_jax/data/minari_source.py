"""Minari data sets: validated, then put on the device."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import minari
import numpy as np
from gymnasium.spaces import Box, Space
from scipy.signal import lfilter

from dawm_jax.data.minari_files import DatasetError, open_data_set, read_episodes
from dawm_jax.data.references import REFERENCE_SCORES, RETURN_SCALES, robot_of
from dawm_jax.settings import Factor, Positive, check_value
from dawm_jax.types import Dataset, Episodes, scale_between

LARGEST = 1e15  # of a value: the squares and sums of larger ones overflow float32
MEND = "mend the episode, or leave it out of the data set"
SMALLEST = 1e-30  # of a scale: devices take numbers not far below it for 0


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
    episodes = [
        _check_episode(f"episode {index} of '{part.id}'", episode, *spaces[0])
        for part in parts
        for index, episode in enumerate(read_episodes(part))
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


def _check_episode(
    name: str, episode: minari.EpisodeData, observation_space: Box, action_space: Box
) -> dict[str, np.ndarray]:
    """The episode as float32 arrays: observations (n + 1, d), actions (n, a), rewards (n,)."""
    steps = len(np.atleast_1d(episode.rewards))
    if steps == 0:
        raise DatasetError(f"{name} has no steps: {MEND}.")
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
            raise DatasetError(
                f"{name} has {field} of shape {value.shape}, expected {shape}: {MEND}."
            )
        if value.dtype.kind not in "biuf":
            raise DatasetError(
                f"{name} has {field} of type {value.dtype}, expected numbers: {MEND}."
            )
        with np.errstate(over="ignore"):
            value = value.reshape(len(value), -1).astype(np.float32)
        if not np.isfinite(value).all():
            row = int(np.argwhere(~np.isfinite(value))[0][0])
            raise DatasetError(f"{name} has a non-finite value in {field} at step {row}: {MEND}.")
        if (np.abs(value) > LARGEST).any():
            row = int(np.argwhere(np.abs(value) > LARGEST)[0][0])
            raise DatasetError(
                f"{name} has a value beyond {LARGEST:g} in {field} at step {row}: scale them down."
            )
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
