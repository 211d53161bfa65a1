"""Data sets of noise, as Minari stores them."""

import warnings
from typing import Any

import minari
import numpy as np
from gymnasium.spaces import Box
from handmade import Episode, random_episode
from minari.data_collector.episode_buffer import EpisodeBuffer

STATES, UNIT = Box(-np.inf, np.inf, (3,)), Box(-1.0, 1.0, (2,))


def buffer(episode: Episode, **fields: Any) -> EpisodeBuffer:
    """`episode` as Minari's collector would record it, with some `fields` replaced."""
    observations, actions, rewards, terminated = episode
    ends = np.arange(len(rewards)) == len(rewards) - 1
    recorded = {
        "observations": observations,
        "actions": actions.astype(np.float32),
        "rewards": rewards,
        "terminations": ends & terminated,
        "truncations": ends & (not terminated),
        "infos": {},
    }
    return EpisodeBuffer(**recorded | fields)


def write(
    name: str,
    buffers: list[EpisodeBuffer],
    observation_space: Any = STATES,
    action_space: Any = UNIT,
    env: Any = None,
    data_format: str = "hdf5",
    **metadata: Any,
) -> None:
    with warnings.catch_warnings(action="ignore"):
        dataset = minari.create_dataset_from_buffers(
            name,
            buffers,
            env=env,
            observation_space=observation_space,
            action_space=action_space,
            data_format=data_format,
        )
    dataset.storage.update_metadata(metadata)


def episodes(
    seed: int = 0,
    ends: tuple[tuple[int, bool], ...] = ((4, True), (1, False), (6, False), (3, True)),
) -> list[Episode]:
    rng = np.random.default_rng(seed)
    return [random_episode(rng, steps, terminated) for steps, terminated in ends]
