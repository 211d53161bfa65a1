"""Evaluation of policies in the environment that a data set names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dawm_jax.data.spaces import Layout, brief
from dawm_jax.errors import UserError, require
from dawm_jax.types import Dataset
from experiments.simulation.environments import make, missing_extra

Policy = Callable[[np.ndarray], np.ndarray]
LONGEST = 10_000  # steps at which an episode is truncated, whatever the environment's limit


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
        self.limit = min(spec.max_episode_steps or LONGEST, LONGEST)
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
                first.append(self.dataset.observation_layout.flat(observation))
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
                    action = self.dataset.action_layout.nested(actions[index])
                    observation, reward, terminated, truncated, _ = environment.step(action)
                    observations[index] = self.dataset.observation_layout.flat(observation)
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
        print(f"policies are trained but not evaluated: {what}{missing_extra(error)}")
        return None
    _check_spaces(evaluator.id, dataset, evaluator.environments[0])
    if dataset.evaluation_environment != dataset.environment:
        print(f"policies are evaluated where the data set says, in {evaluator.id}")
    if (dataset.evaluation_environment.max_episode_steps or 0) > LONGEST:
        print(f"episodes of {evaluator.id} are evaluated for their first {LONGEST} steps")
    return evaluator


def _check_spaces(name: str, dataset: Dataset, environment: Any) -> None:
    """Raises UserError if observations, actions or their bounds are not those of the data."""
    advice = (
        "use a data set of this environment, or turn evaluation off (config.evaluation_episodes=0)"
    )
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
