"""Minari data sets recorded with the shipped policies."""

import zlib
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np

from dawm_jax.data.formats.minari_files import folder_of, open_data_set
from dawm_jax.data.references import REFERENCE_SCORES
from dawm_jax.errors import UserError
from dawm_jax.export.minari import write
from experiments.simulation.behaviors import QUALITIES, ROBOTS, Behavior
from experiments.simulation.environments import make
from experiments.store.new_data_set import bytes_of, new_data_set, reserve
from experiments.system.workers import in_processes


def collect(
    environment_id: str, quality: str, steps: int, seed: int = 0, overwrite: bool = False
) -> str:
    """Records `steps` steps as a data set and returns its id.

    The data set appears under its id only when it is complete.

    Raises:
        UserError: the data set exists and may not be overwritten; its folder is not writable;
            another process records it; a process was killed, an environment failed, or the disk is
            full.
    """
    robot = ROBOTS[environment_id]
    dataset_id = f"local/{robot}/{quality}-v0"
    with new_data_set(dataset_id, overwrite):
        episodes = _record_blocks(environment_id, quality, steps, seed)
        reserve(bytes_of(episodes), len(episodes))
        write(
            dataset_id,
            episodes,
            environment=gymnasium.spec(environment_id),
            reference_scores=REFERENCE_SCORES[robot],
            algorithm_name=f"SAC, {quality}, seed {seed}",
            description=(
                f"{steps} steps of {', '.join(QUALITIES[quality])}. The reference scores are "
                f"D4RL's; scores on {environment_id} are not comparable with D4RL's v2."
            ),
            requirements=[f"{package}=={version(package)}" for package in ("gymnasium", "mujoco")],
        )
    return dataset_id


def _record_blocks(environment_id: str, quality: str, steps: int, seed: int) -> list[dict]:
    names, lengths = zip(*blocks(quality, steps), strict=True)
    data_set = zlib.crc32(
        f"{environment_id}/{quality}".encode()
    )  # so that no block occurs in two of them
    seeds = np.random.SeedSequence([seed, data_set]).generate_state(len(names)).tolist()
    tasks = [(environment_id, *rest) for rest in zip(names, lengths, seeds, strict=True)]
    return [episode for block in in_processes(record, tasks) for episode in block]


def blocks(quality: str, steps: int, longest: int = 25_000) -> Iterator[tuple[str, int]]:
    """Policies and step counts, in order, that sum to `steps`; each can run independently."""
    policies = QUALITIES[quality]
    shares = np.diff(np.linspace(0, steps, len(policies) + 1).astype(int))
    for name, share in zip(policies, shares, strict=True):
        pieces = max(1, -(-int(share) // longest))
        for piece in np.diff(np.linspace(0, share, pieces + 1).astype(int)):
            yield name, int(piece)


def record(environment_id: str, name: str, steps: int, seed: int) -> list[dict[str, Any]]:
    """Exactly `steps` steps of a policy, as episodes; the last one is truncated."""
    with make(environment_id) as environment:
        environment_seed, policy_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
        behavior = Behavior(environment_id, name, np.random.default_rng(policy_seed))
        episodes = []
        try:
            environment.reset(seed=environment_seed)
            while steps > 0:
                episodes.append(_record_episode(environment, behavior, steps))
                steps -= len(episodes[-1]["rewards"])
        except Exception as error:
            raise UserError(
                f"{environment_id} failed in episode {len(episodes)} of {name}: "
                f"{type(error).__name__}: {error}. Nothing is recorded."
            ) from error
    return episodes


def _record_episode(environment: Any, behavior: Behavior, limit: int) -> dict[str, np.ndarray]:
    observation, _ = environment.reset()
    observations = [observation]
    rows: list[tuple[Any, ...]] = []
    ended = False
    while not ended:
        action = behavior(observation, environment.action_space)
        observation, reward, terminated, truncated, _ = environment.step(action)
        observations.append(observation)
        truncated = truncated or (not terminated and len(rows) + 1 == limit)
        rows.append((action, reward, terminated, truncated))
        ended = terminated or truncated
    actions, rewards, terminations, truncations = map(np.array, zip(*rows, strict=True))
    return {
        "observations": np.array(observations),
        "actions": actions,
        "rewards": rewards,
        "terminations": terminations,
        "truncations": truncations,
    }


def collect_missing(dataset_id: str, steps: int) -> None:
    """Records each missing local/<robot>/<quality>-v0 of `dataset_id`.

    An existing one with another number of steps is used as it is, with a message.
    """
    environments = {robot: environment for environment, robot in ROBOTS.items()}
    for part in dataset_id.split("+"):
        match part.removesuffix("-v0").split("/") if part.endswith("-v0") else ():
            case ["local", robot, quality] if robot in environments and quality in QUALITIES:
                environment_id = environments[robot]
                if not folder_of(part).exists():
                    print(f"recording {steps} steps as {part}", flush=True)
                    collect(environment_id, quality, steps)
                elif (existing := open_data_set(part, download=False).total_steps) != steps:
                    print(
                        f"{part} exists with {existing} steps and is used as it is; to record "
                        f"{steps}: python -m experiments.collect --env={environment_id} "
                        f"--quality={quality} --steps={steps} --overwrite",
                        flush=True,
                    )
