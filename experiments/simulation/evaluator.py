"""Evaluation of policies in the environment that a data set names."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np

from dawm_jax.data.spaces import Layout, brief
from dawm_jax.errors import UserError, require
from dawm_jax.types import Dataset
from experiments.simulation.environments import make, missing_extra

Policy = Callable[[np.ndarray], np.ndarray]  # observations (S, E, ...) -> actions (S, E, ...)
OR_NONE = (
    "use a data set of this environment, or turn evaluation off (config.evaluation_episodes=0)"
)
LONGEST = 10_000  # steps at which an episode is truncated, whatever the environment's limit


class Layouts(NamedTuple):
    """Which numbers of an environment's observations and actions are in a policy's vectors."""

    observation: Layout
    action: Layout

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> Self:
        return cls(dataset.observation_layout, dataset.action_layout)

    @classmethod
    def of_environment(cls, environment: Any) -> Self:
        """All of them.

        Raises:
            UserError: its spaces are not of vectors.
        """
        return cls(Layout.of(environment.observation_space), Layout.of(environment.action_space))


class Evaluator:
    """Environments for S seeds x E episodes, created once and stepped side by side.

    Episode e of seed s starts from the same state for every policy and in every evaluation.
    """

    def __init__(
        self,
        spec: Any,
        seeds: list[int],
        episodes: int,
        seed: int,
        layouts: Layouts | None = None,  # None: all numbers of the environment
    ):
        self.id = spec.id
        self.seeds = seeds
        self.shape = (len(seeds), episodes)
        self.seed = seed
        self.limit = min(spec.max_episode_steps or LONGEST, LONGEST)
        self.environments = [make(spec) for _ in range(math.prod(self.shape))]
        self.layouts = layouts or Layouts.of_environment(self.environments[0])

    def reset_seeds(self, first: int = 0) -> list[int]:
        """What resets each environment, in order of seeds and episodes.

        Args:
            first: the number of the first episode.
        """
        episodes = range(first, first + self.shape[1])
        return [reset_seed(self.seed, s, e) for s in self.seeds for e in episodes]

    def returns(self, policy: Policy, steps: int | None = None, first: int = 0) -> np.ndarray:
        """The undiscounted return of every episode, or of its first `steps`.

        Args:
            policy: maps observations (S, E, observation_dim) to actions (S, E, action_dim), both
                in the environment's units; see `in_units`.
            first: the number of the first episode.

        Returns:
            (S, E) float64.

        Raises:
            UserError: an environment raises, or a reward is not finite.
        """
        starts = []
        for index, seed in enumerate(self.reset_seeds(first)):
            with self._named(index, "reset"):
                observation, _ = self.environments[index].reset(seed=seed)
                starts.append(self.layouts.observation.flat(observation))
        observations = np.stack(starts).astype(np.float64)
        returns = np.zeros(len(observations))
        running = list(range(len(observations)))
        for step in range(1, (steps or self.limit) + 1):
            if not running:
                break
            actions = policy(observations.reshape(*self.shape, -1)).reshape(len(returns), -1)
            still = []
            for index in running:
                environment = self.environments[index]
                with self._named(index, f"step {step}"):
                    action = self.layouts.action.nested(actions[index])
                    observation, reward, terminated, truncated, _ = environment.step(action)
                    observations[index] = self.layouts.observation.flat(observation)
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

    def random_returns(self, dataset: Dataset) -> np.ndarray:
        """The returns (S, E) of uniform random actions, as a yardstick."""
        rng = np.random.default_rng(0)
        shape = (*self.shape, dataset.action_dim)
        return self.returns(in_units(lambda _: rng.uniform(-1.0, 1.0, shape), dataset))


def reset_seed(run_seed: int, seed: int, episode: int) -> int:
    """What resets the environment for an episode of a learner's seed, in a run of a seed."""
    return int(np.random.SeedSequence([run_seed, seed, episode]).generate_state(1)[0])


def in_units(act: Policy, dataset: Dataset) -> Policy:
    """A learner's policy in the environment's units.

    Args:
        act: maps observations less the data set's origin to actions in [-1, 1].
    """

    def policy(observation: np.ndarray) -> np.ndarray:
        action = act(dataset.shift_observation(observation))
        return dataset.unscale_action(np.clip(action, -1.0, 1.0))

    return policy


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
        evaluator = Evaluator(
            dataset.evaluation_environment, seeds, episodes, seed, Layouts.of_dataset(dataset)
        )
    except Exception as error:  # environments of other packages raise anything
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"policies are trained but not evaluated: {what}{missing_extra(error)}")
        return None
    check_spaces(evaluator.id, dataset, evaluator.environments[0], OR_NONE)
    if dataset.evaluation_environment != dataset.environment:
        print(f"policies are evaluated where the data set says, in {evaluator.id}")
    if (dataset.evaluation_environment.max_episode_steps or 0) > LONGEST:
        print(f"episodes of {evaluator.id} are evaluated for their first {LONGEST} steps")
    return evaluator


def check_spaces(name: str, dataset: Dataset, environment: Any, advice: str) -> None:
    """Raises UserError if observations, actions or their bounds are not those of the data."""
    spaces = {
        "observations": (environment.observation_space, dataset.observation_layout),
        "actions": (environment.action_space, dataset.action_layout),
    }
    found = {}
    for what, (space, of_data) in spaces.items():
        try:
            there = Layout.of(space)
            found[what] = of_data.of_parts(there)
            fits = found[what].sizes == of_data.sizes
        except (UserError, KeyError):
            fits = False
        require(
            fits,
            f"{what} in {name} have {_described(space)}, those of '{dataset.id}' "
            f"{_described(of_data.space)}: {advice}",
        )
    if dataset.action_space is None:
        return
    boxes = (dataset.action_space, found["actions"].box)
    for end in ("low", "high"):
        data, bounds = (getattr(box, end).reshape(-1) for box in boxes)
        known = np.isfinite(data)
        require(
            np.allclose(data[known], bounds[known], rtol=1e-4, atol=1e-6),
            f"the bounds of actions differ: '{dataset.id}' has {end} {data}, {name} {bounds}: "
            f"{advice}",
        )


def _described(space: Any) -> str:
    """The numbers of a space; those of each part, if it has parts."""
    try:
        sizes = Layout.of(space).sizes
    except UserError:
        return brief(space)
    if "" in sizes:
        return f"{sizes['']} numbers"
    return ", ".join(f"{size} numbers of {name}" for name, size in sizes.items())
