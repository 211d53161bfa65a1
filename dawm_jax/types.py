"""The arrays that pass between the stages, as frozen pytrees.

Sizes: B batch, T window length, E episodes, S rows (an episode of n steps has n + 1 of them,
one an observation), N transitions. Observations and rewards are in the data set's own units;
actions are scaled to [-1, 1] from the bounds of the action space; floats are float32.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import struct

Array = jax.Array
AnyArray = jax.Array | np.ndarray


class Episodes(struct.PyTreeNode):
    """The episodes of a data set, one after the other."""

    observation: Array  # (S, observation_dim)
    action: Array  # (S, action_dim); zeros in an episode's last row
    reward: Array  # (S,); zero in an episode's last row
    return_to_go: Array  # (S,) discounted sum of the rewards from here to the episode's end
    steps_left: Array  # (S,) int32; steps to the episode's final observation, 0 in its last row
    terminated: Array  # (S,) bool; whether this row's episode ends in a terminal state


def scale_between(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`action` (..., action_dim) with `low` as -1 and `high` as +1."""
    return 2.0 * (action - low) / (high - low) - 1.0


@dataclass(frozen=True)
class Dataset:
    """A validated data set: its episodes on the device, its facts on the host."""

    id: str
    episodes: Episodes
    lengths: np.ndarray  # (E,) steps of each episode
    returns: np.ndarray  # (E,) undiscounted return of each episode
    terminated: np.ndarray  # (E,) bool; False where the episode was truncated
    action_low: np.ndarray  # (action_dim,) the action that -1 stands for
    action_high: np.ndarray  # (action_dim,) the action that +1 stands for
    discount: float  # gamma
    return_scale: float  # return-to-go is divided by this where it conditions the world model
    environment: Any | None  # gymnasium's EnvSpec, where the data set names one
    reference_scores: tuple[float, float] | None  # returns of score 0 and of score 100

    @property
    def transitions(self) -> int:
        """Number of recorded steps."""
        return int(self.lengths.sum())

    @property
    def action_dim(self) -> int:
        return self.episodes.action.shape[-1]

    def scale_action(self, action: np.ndarray) -> np.ndarray:
        """Actions (..., action_dim) of the environment to [-1, 1]."""
        return scale_between(action, self.action_low, self.action_high)

    def unscale_action(self, action: np.ndarray) -> np.ndarray:
        """Actions (..., action_dim) in [-1, 1] to those of the environment."""
        return (action + 1.0) / 2.0 * (self.action_high - self.action_low) + self.action_low


class Context(struct.PyTreeNode):
    """What a window is imagined from."""

    observation: Array  # (B, observation_dim) the current state
    action: Array  # (B, action_dim) the action taken in it
    return_to_go: Array  # (B,) the wanted return-to-go, divided by the return scale


class Window(struct.PyTreeNode):
    """T consecutive states of one episode; after a terminal state it is repeated."""

    context: Context
    observation: Array  # (B, T, observation_dim)
    action: Array  # (B, T, action_dim) the action taken in each state; zeros where there is none
    reward: Array  # (B, T) the reward of the action taken in each state
    terminal: Array  # (B, T) bool; whether the state is a terminal one
    observation_mask: Array  # (B, T) bool; False in the fill after a terminal state
    reward_mask: Array  # (B, T) bool; False where no action was recorded


class Rollout(struct.PyTreeNode):
    """A generated window. Its first state is the context's."""

    observation: Array  # (B, T, observation_dim)
    reward: Array  # (B, T)
    terminal: Array  # (B, T) bool


class Transition(struct.PyTreeNode):
    """What a learner eats, wherever it comes from."""

    observation: Array  # (N, observation_dim)
    action: Array  # (N, action_dim)
    reward: Array  # (N,)
    discount: Array  # (N,) gamma, or 0 where next_observation is terminal
    next_observation: Array  # (N, observation_dim)
    real: Array  # (N,) bool; recorded, not generated
