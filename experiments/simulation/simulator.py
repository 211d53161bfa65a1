"""A MuJoCo environment set to given states: the judge of synthetic transitions."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dawm_jax.types import AnyArray, Dataset
from experiments.simulation.environments import make

FAST = 1e3  # a velocity that any clipping of observations changes


@dataclass(frozen=True)
class Simulator:
    """Steps an environment from states given as observations.

    Works where gymnasium describes the positions and velocities in an observation (MuJoCo, v5).
    The root's position, which observations leave out and no outcome depends on, is 0.
    """

    environment: Any
    dataset: Dataset
    positions: int
    velocities: int
    fastest: float  # velocities of this size are clipped, so that the true ones are unknown

    @property
    def features(self) -> int:
        """The number of leading entries of an observation that are positions and velocities."""
        return self.positions + self.velocities

    def settable(self, observation: AnyArray) -> np.ndarray:
        """Whether observations (..., observation_dim) determine the state, (...) bool."""
        true = self.dataset.unshift_observation(np.asarray(observation))
        velocity = true[..., self.positions : self.features]
        return (np.abs(velocity) < self.fastest).all(axis=-1)

    def step(
        self, observation: AnyArray, action: AnyArray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The outcome of each state and action.

        Args:
            observation: (N, observation_dim).
            action: (N, action_dim) in [-1, 1].

        Returns:
            Positions and velocities (N, features) of the next states, rewards (N,) with the data
            set's shift, and whether the next states are terminal (N,) bool.
        """
        states = self.dataset.unshift_observation(np.asarray(observation, np.float64))
        actions = self.dataset.unscale_action(np.asarray(action)).astype(np.float64)
        rows, rewards, ends = [], [], []
        for state, chosen in zip(states, actions, strict=True):
            self._set(state)
            action_taken = self.dataset.action_layout.nested(chosen)
            value, reward, terminated, *_ = self.environment.step(action_taken)
            rows.append(self.dataset.observation_layout.flat(value)[: self.features])
            rewards.append(reward + self.dataset.reward_shift)
            ends.append(terminated)
        origin = self.dataset.observation_origin[: self.features]
        following_states = np.array(rows).reshape(-1, self.features) - origin
        return following_states, np.array(rewards), np.array(ends, bool)

    def terminal(self, observation: AnyArray) -> np.ndarray | None:
        """The environment's terminal rule on states (N, observation_dim); None without a rule."""
        if not getattr(self.environment, "_terminate_when_unhealthy", False):
            return None
        flags = []
        for state in self.dataset.unshift_observation(np.asarray(observation, np.float64)):
            self._set(state)
            flags.append(not self.environment.is_healthy)
        return np.array(flags, bool)

    def _set(self, state: np.ndarray) -> None:
        root = np.zeros(self.environment.model.nq - self.positions)
        set_to(self.environment, state, self.positions, self.velocities, root)


def layout(environment: Any) -> tuple[int, int] | None:
    """How many positions, then velocities, an observation begins with; None if not known."""
    structure = getattr(environment, "observation_structure", {})
    if not {"qpos", "qvel"} <= structure.keys() or not hasattr(environment, "set_state"):
        return None
    return structure["qpos"], structure["qvel"]


def set_to(
    environment: Any, state: np.ndarray, positions: int, velocities: int, root: np.ndarray
) -> None:
    """Sets an environment to a state, an observation, and the root's position, which it lacks."""
    where = np.concatenate([root, state[:positions]])
    environment.set_state(where, state[positions : positions + velocities])


def make_simulator(dataset: Dataset) -> Simulator | None:
    """The simulator of a data set's environment; None if it cannot be set to observations."""
    if dataset.environment is None:
        return None
    try:
        environment: Any = make(dataset.environment).unwrapped
    except Exception:  # environments of other packages raise anything
        return None
    counts = layout(environment)
    if counts is None:
        return None
    environment.reset(seed=0)
    positions, velocities = counts

    def observed() -> np.ndarray:
        return dataset.observation_layout.flat(environment._get_obs())

    if not np.array_equal(observed()[:positions], environment.data.qpos[-positions:]):
        return None  # observations begin with something else
    fast = np.full(velocities, FAST)
    environment.set_state(environment.init_qpos, fast)
    seen = observed()[positions : positions + velocities]
    fastest = float(seen.max()) if seen.max() < FAST else np.inf
    return Simulator(environment, dataset, positions, velocities, fastest)
