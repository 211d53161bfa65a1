"""Policies in simulators: the environment that a data set names, stepped for evaluation."""

from collections.abc import Callable

import gymnasium
import numpy as np

from dawm_jax.types import Dataset

Policy = Callable[[np.ndarray], np.ndarray]
UNLIMITED = 10_000  # steps after which an episode is cut where the environment sets no limit


class Evaluator:
    """Environments for S seeds x E episodes, made once and stepped side by side.

    Episode e of seed s starts from the same state for every policy and at every evaluation.
    """

    def __init__(self, dataset: Dataset, seeds: list[int], episodes: int, seed: int):
        self.shape = (len(seeds), episodes)
        self.unscale_action = dataset.unscale_action
        self.action_dim = dataset.action_dim
        self.reset_seeds = [
            int(np.random.SeedSequence([seed, s, e]).generate_state(1)[0])
            for s in seeds
            for e in range(episodes)
        ]
        self.limit = dataset.environment.max_episode_steps or UNLIMITED
        self.environments = [gymnasium.make(dataset.environment) for _ in self.reset_seeds]

    def returns(self, policy: Policy) -> np.ndarray:
        """Undiscounted return of every episode.

        Args:
            policy: maps observations (S, E, observation_dim) to actions (S, E, action_dim) in
                [-1, 1].

        Returns:
            (S, E) float64.
        """
        pairs = zip(self.environments, self.reset_seeds, strict=True)
        observations = np.stack([e.reset(seed=seed)[0].reshape(-1) for e, seed in pairs])
        observations = observations.astype(np.float32)
        returns = np.zeros(len(observations))
        running = list(range(len(observations)))
        for _ in range(self.limit):
            if not running:
                break
            actions = policy(observations.reshape(*self.shape, -1)).reshape(len(returns), -1)
            actions = self.unscale_action(np.clip(actions, -1.0, 1.0))
            still = []
            for index in running:
                environment = self.environments[index]
                action = actions[index].reshape(environment.action_space.shape)
                observation, reward, terminated, truncated, _ = environment.step(action)
                observations[index] = observation.reshape(-1)
                returns[index] += reward
                if not (terminated or truncated):
                    still.append(index)
            running = still
        return returns.reshape(self.shape)

    def random_returns(self) -> np.ndarray:
        """(S, E) returns of uniform random actions, a yardstick."""
        rng = np.random.default_rng(0)
        shape = (*self.shape, self.action_dim)
        return self.returns(lambda _: rng.uniform(-1.0, 1.0, shape))


def make_evaluator(
    dataset: Dataset, seeds: list[int], episodes: int, seed: int
) -> Evaluator | None:
    """Environments for `episodes` of each of `seeds`, or None, with a word on why not."""
    if dataset.environment is None:
        print(f"'{dataset.id}' names no environment: policies are trained, but not evaluated")
        return None
    try:
        return Evaluator(dataset, seeds, episodes, seed)
    except (gymnasium.error.Error, ImportError) as error:
        print(f"policies are trained, but not evaluated: {error}")
        return None
