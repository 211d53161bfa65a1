"""A MuJoCo environment set to given states: the judge of imagined transitions."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from dawm_jax.types import Dataset

FAST = 1e3  # a velocity that any clipping of observations would cut


@dataclass(frozen=True)
class Simulator:
    """Answers what an environment does in a state that its observation tells of.

    Works where gymnasium says how the observation holds positions and velocities (MuJoCo, v5). The
    root's position, which such observations leave out and no outcome depends on, is 0.
    """

    environment: Any
    dataset: Dataset
    positions: int
    velocities: int
    fastest: float  # velocities of this size are clipped, so that the true one is not known

    @property
    def features(self) -> int:
        """How many of an observation's first entries are positions and velocities."""
        return self.positions + self.velocities

    def settable(self, observation: np.ndarray) -> np.ndarray:
        """Whether the observations (..., observation_dim) tell the whole state, (...) bool."""
        velocity = observation[..., self.positions : self.features]
        return (np.abs(velocity) < self.fastest).all(axis=-1)

    def step(self, observation: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What follows each state and action.

        Args:
            observation: (N, observation_dim).
            action: (N, action_dim) in [-1, 1].

        Returns:
            Positions and velocities (N, features) of the next states, and rewards (N,).
        """
        actions = self.dataset.unscale_action(action).astype(np.float64)
        rows, rewards = [], []
        for state, chosen in zip(observation.astype(np.float64), actions, strict=True):
            self._set(state)
            following, reward, *_ = self.environment.step(chosen)
            rows.append(following[: self.features])
            rewards.append(reward)
        return np.array(rows).reshape(-1, self.features), np.array(rewards)

    def terminal(self, observation: np.ndarray) -> np.ndarray | None:
        """The environment's own rule on states (N, observation_dim); None where it has none."""
        if not getattr(self.environment, "_terminate_when_unhealthy", False):
            return None
        flags = []
        for state in observation.astype(np.float64):
            self._set(state)
            flags.append(not self.environment.is_healthy)
        return np.array(flags, bool)

    def _set(self, state: np.ndarray) -> None:
        root = np.zeros(self.environment.model.nq - self.positions)
        positions = np.concatenate([root, state[: self.positions]])
        self.environment.set_state(positions, state[self.positions : self.features])


def make_simulator(dataset: Dataset) -> Simulator | None:
    """The simulator of a data set's environment; None where it cannot be set to observations."""
    try:
        environment = dataset.environment and gymnasium.make(dataset.environment).unwrapped
    except (gymnasium.error.Error, ImportError):
        return None
    structure = getattr(environment, "observation_structure", {})
    if not {"qpos", "qvel"} <= structure.keys() or not hasattr(environment, "set_state"):
        return None
    environment.reset(seed=0)
    positions, velocities = structure["qpos"], structure["qvel"]
    fast = np.full(velocities, FAST)
    environment.set_state(environment.init_qpos, fast)
    seen = environment._get_obs()[positions : positions + velocities]
    fastest = float(seen.max()) if seen.max() < FAST else np.inf
    return Simulator(environment, dataset, positions, velocities, fastest)
