"""Evaluation of policies in the environment that a data set names."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from dawm_jax.errors import UserError, require
from dawm_jax.types import Dataset
from experiments.simulation.environments import make

Policy = Callable[[np.ndarray], np.ndarray]
UNLIMITED = 10_000  # steps at which an episode is truncated if the environment sets no limit


class Evaluator:
    """Environments for S seeds x E episodes, created once and stepped side by side.

    Episode e of seed s starts from the same state for every policy and in every evaluation.
    """

    def __init__(self, dataset: Dataset, seeds: list[int], episodes: int, seed: int):
        spec: Any = dataset.evaluation_environment  # which `make_evaluator` has checked
        self.id = spec.id
        self.seeds = seeds
        self.shape = (len(seeds), episodes)
        self.dataset = dataset
        self.action_dim = dataset.action_dim
        self.reset_seeds = [
            int(np.random.SeedSequence([seed, s, e]).generate_state(1)[0])
            for s in seeds
            for e in range(episodes)
        ]
        self.limit = spec.max_episode_steps or UNLIMITED
        self.environments = [make(spec) for _ in self.reset_seeds]

    def returns(self, policy: Policy, steps: int | None = None) -> np.ndarray:
        """The undiscounted return of every episode, or of its first `steps`.

        Args:
            policy: maps observations (S, E, observation_dim), less the data set's origin, to
                actions (S, E, action_dim) in [-1, 1].

        Returns:
            (S, E) float64.

        Raises:
            UserError: an environment raises, or a reward is not finite.
        """
        first = []
        for index, seed in enumerate(self.reset_seeds):
            with self._named(index, "reset"):
                observation, _ = self.environments[index].reset(seed=seed)
                first.append(observation.reshape(-1))
        observations = np.stack(first).astype(np.float64)
        returns = np.zeros(len(observations))
        running = list(range(len(observations)))
        for step in range(1, (steps or self.limit) + 1):
            if not running:
                break
            seen = self.dataset.shift_observation(observations)
            actions = policy(seen.reshape(*self.shape, -1)).reshape(len(returns), -1)
            actions = self.dataset.unscale_action(np.clip(actions, -1.0, 1.0))
            still = []
            for index in running:
                environment = self.environments[index]
                with self._named(index, f"step {step}"):
                    action = actions[index].reshape(environment.action_space.shape)
                    observation, reward, terminated, truncated, _ = environment.step(action)
                    observations[index] = observation.reshape(-1)
                    returns[index] += reward
                    if not np.isfinite(returns[index]):
                        raise ValueError(f"the reward is {reward}")
                if not (terminated or truncated):
                    still.append(index)
            running = still
        return returns.reshape(self.shape)

    @contextmanager
    def _named(self, index: int, when: str) -> Iterator[None]:
        """Adds the seed, episode and step to an error."""
        try:
            yield
        except Exception as error:
            seed, episode = (int(i) for i in np.unravel_index(index, self.shape))
            raise UserError(
                f"the environment {self.id} failed in evaluation, at {when} of episode {episode} "
                f"of seed {self.seeds[seed]}: {type(error).__name__}: {error}. Trained states are "
                "kept; run the same command to resume with this evaluation."
            ) from error

    def close(self) -> None:
        for environment in self.environments:
            environment.close()

    def random_returns(self) -> np.ndarray:
        """The returns (S, E) of uniform random actions, as a yardstick."""
        rng = np.random.default_rng(0)
        shape = (*self.shape, self.action_dim)
        return self.returns(lambda _: rng.uniform(-1.0, 1.0, shape))


def make_evaluator(
    dataset: Dataset, seeds: list[int], episodes: int, seed: int
) -> Evaluator | None:
    """Environments for `episodes` of each seed; None, with the reason printed, if impossible.

    Raises:
        UserError: the environment does not fit the data.
    """
    if episodes == 0:
        return None
    if dataset.evaluation_environment is None:
        print(f"'{dataset.id}' names no environment: policies are trained but not evaluated")
        return None
    try:
        evaluator = Evaluator(dataset, seeds, episodes, seed)
    except Exception as error:  # environments of other packages raise anything
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"policies are trained but not evaluated: {what}")
        return None
    _check_spaces(evaluator.id, dataset, evaluator.environments[0])
    if dataset.evaluation_environment != dataset.environment:
        print(f"policies are evaluated where the data set says, in {evaluator.id}")
    return evaluator


def _check_spaces(name: str, dataset: Dataset, environment: Any) -> None:
    """Raises UserError if observations, actions or their bounds are not those of the data."""
    advice = (
        "use a data set of this environment, or turn evaluation off (config.evaluation_episodes=0)"
    )
    sizes = {
        "observations": (environment.observation_space, dataset.observation_origin),
        "actions": (environment.action_space, dataset.action_low),
    }
    for what, (space, of_data) in sizes.items():
        found = math.prod(space.shape) if isinstance(space, Box) else space
        require(
            found == len(of_data),
            f"{what} in {name} have {found} numbers, those of '{dataset.id}' {len(of_data)}: "
            f"{advice}",
        )
    if dataset.action_space is None:
        return
    spaces = (dataset.action_space, environment.action_space)
    for end in ("low", "high"):
        data, there = (getattr(space, end).reshape(-1) for space in spaces)
        known = np.isfinite(data)
        require(
            np.allclose(data[known], there[known], rtol=1e-4, atol=1e-6),
            f"the bounds of actions differ: '{dataset.id}' has {end} {data}, {name} {there}: "
            f"{advice}",
        )
