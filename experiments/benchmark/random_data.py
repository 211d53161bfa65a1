"""Random data with Hopper's dimensions, in memory and as a Minari data set."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import minari
import numpy as np
from gymnasium.spaces import Box
from minari.data_collector import EpisodeBuffer

from dawm_jax.types import Context, Dataset, Episodes

OBSERVATION, ACTION = 11, 3
DATASET = "benchmark/random-v0"
MAX_STEPS = 1_000  # per episode


def _draw(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    return {
        "observation": rng.standard_normal((rows, OBSERVATION), np.float32),
        "action": rng.uniform(-1.0, 1.0, (rows, ACTION)).astype(np.float32),
        "reward": rng.standard_normal(rows, np.float32),
    }


@cache
def random_dataset(transitions: int) -> Dataset:
    """Truncated episodes of noise, on the device: as many whole ones as `transitions` allows."""
    length = min(MAX_STEPS, transitions)
    count = transitions // length
    rng = np.random.default_rng(0)
    rows = count * (length + 1)
    drawn = _draw(rng, rows)
    episodes = Episodes(
        **{name: jnp.asarray(value) for name, value in drawn.items()},
        return_to_go=jnp.asarray(rng.standard_normal(rows, np.float32)),
        steps_left=jnp.tile(jnp.arange(length, -1, -1, dtype=jnp.int32), count),
        terminated=jnp.zeros(rows, bool),
    )
    return Dataset(
        id=DATASET,
        episodes=episodes,
        lengths=np.full(count, length),
        returns=rng.standard_normal(count),
        terminated=np.zeros(count, bool),
        action_low=np.full(ACTION, -1.0, np.float32),
        action_high=np.full(ACTION, 1.0, np.float32),
        observation_origin=np.zeros(OBSERVATION),
        discount=0.99,
        return_scale=1.0,
        environment=None,
        reference_scores=None,
    )


def random_contexts(batch: int) -> tuple[Context, jax.Array]:
    """`batch` contexts on the device, and a key for each."""
    observation, action, target, keys = jax.random.split(jax.random.key(0), 4)
    context = Context(
        observation=jax.random.normal(observation, (batch, OBSERVATION)),
        action=jax.random.uniform(action, (batch, ACTION), minval=-1.0),
        return_to_go=jax.random.normal(target, (batch,)),
    )
    return context, jax.random.split(keys, batch)


def write_random_dataset(folder: Path, transitions: int, episodes: int) -> None:
    """Writes `DATASET` in Minari's HDF5 format; `folder` is the root of its data sets."""
    rng = np.random.default_rng(0)
    length = transitions // episodes
    truncated = np.arange(1, length + 1) == length
    buffers = []
    for index in range(episodes):
        drawn = _draw(rng, length + 1)
        buffers.append(
            EpisodeBuffer(
                id=index,
                observations=drawn["observation"].astype(np.float64),  # as in MuJoCo
                actions=drawn["action"][:-1],
                rewards=drawn["reward"][:-1].astype(np.float64),
                terminations=np.zeros(length, bool),
                truncations=truncated,
                infos={},
            )
        )
    with environment(MINARI_DATASETS_PATH=str(folder)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata that a local data set does not need
        minari.create_dataset_from_buffers(
            DATASET,
            buffers,
            observation_space=Box(-np.inf, np.inf, (OBSERVATION,), np.float64),
            action_space=Box(-1.0, 1.0, (ACTION,), np.float32),
            data_format="hdf5",
        )


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Sets environment variables for the duration of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
