"""Evaluation of policies in the environment that a data set names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np

from dawm_jax.errors import UserError
from dawm_jax.types import Dataset

Policy = Callable[[np.ndarray], np.ndarray]
UNLIMITED = 10_000  # steps at which an episode is truncated if the environment sets no limit


class Evaluator:
    """Environments for S seeds x E episodes, created once and stepped side by side.

    Episode e of seed s starts from the same state for every policy and in every evaluation.
    """

    def __init__(self, dataset: Dataset, seeds: list[int], episodes: int, seed: int):
        spec: Any = dataset.environment  # which `make_evaluator` has checked
        self.id = spec.id
        self.seeds = seeds
        self.shape = (len(seeds), episodes)
        self.unscale_action = dataset.unscale_action
        self.action_dim = dataset.action_dim
        self.reset_seeds = [
            int(np.random.SeedSequence([seed, s, e]).generate_state(1)[0])
            for s in seeds
            for e in range(episodes)
        ]
        self.limit = spec.max_episode_steps or UNLIMITED
        self.environments = [gymnasium.make(spec) for _ in self.reset_seeds]

    def returns(self, policy: Policy, steps: int | None = None) -> np.ndarray:
        """The undiscounted return of every episode, or of its first `steps`.

        Args:
            policy: maps observations (S, E, observation_dim) to actions (S, E, action_dim) in
                [-1, 1].

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
        observations = np.stack(first).astype(np.float32)
        returns = np.zeros(len(observations))
        running = list(range(len(observations)))
        for step in range(1, (steps or self.limit) + 1):
            if not running:
                break
            actions = policy(observations.reshape(*self.shape, -1)).reshape(len(returns), -1)
            actions = self.unscale_action(np.clip(actions, -1.0, 1.0))
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
    """Environments for `episodes` of each seed; None, with the reason printed, if impossible."""
    if dataset.environment is None:
        print(f"'{dataset.id}' names no environment: policies are trained but not evaluated")
        return None
    try:
        return Evaluator(dataset, seeds, episodes, seed)
    except (gymnasium.error.Error, ImportError) as error:
        print(f"policies are trained but not evaluated: {error}")
        return None
