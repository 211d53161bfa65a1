"""The arrays that pass between stages, as frozen pytrees.

Sizes: B batch, T window length, E episodes, S rows (an episode of n steps has n + 1 rows, one per
observation), N transitions. Observations and rewards are in the data set's units, observations
less the data set's origin, which is 0 unless float32 needs it; actions are scaled to [-1, 1] from
the bounds of the action space; floats are float32. Rewards include a shift, if one is set.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import struct

Array = jax.Array
AnyArray = jax.Array | np.ndarray


class Episodes(struct.PyTreeNode):
    """The episodes of a data set, concatenated."""

    observation: Array  # (S, observation_dim)
    action: Array  # (S, action_dim); zeros in an episode's last row
    reward: Array  # (S,); zero in an episode's last row
    return_to_go: Array  # (S,) discounted sum of rewards from here to the end of the episode
    steps_left: Array  # (S,) int32; steps to the episode's final observation, 0 in its last row
    terminated: Array  # (S,) bool; whether the row's episode ends in a terminal state


def scale_between(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Maps actions (..., action_dim) from [low, high] to [-1, 1]."""
    return 2.0 * (action - low) / (high - low) - 1.0


@dataclass(frozen=True)
class Dataset:
    """A validated data set: episodes on the device, metadata on the host."""

    id: str
    episodes: Episodes
    lengths: np.ndarray  # (E,) steps per episode
    returns: np.ndarray  # (E,) undiscounted return of each episode
    terminated: np.ndarray  # (E,) bool; False where the episode was truncated
    action_low: np.ndarray  # (action_dim,) mapped to -1
    action_high: np.ndarray  # (action_dim,) mapped to +1
    observation_origin: np.ndarray  # (observation_dim,) float64; subtracted from observations
    discount: float  # gamma
    return_scale: float  # divides the return-to-go where it conditions a model
    environment: Any | None  # gymnasium EnvSpec, if the data set names one
    reference_scores: tuple[float, float] | None  # returns that score 0 and 100
    evaluation_environment: Any | None = None  # where policies are scored
    action_space: Any | None = None  # gymnasium Box that the actions are clipped to
    observation_layout: Any = None  # of data/spaces.py: the environment's value as a vector
    action_layout: Any = None
    reward_shift: float = 0.0  # in the rewards and returns, not in the environment's
    reference_note: str | None = None  # where the reference scores are from, or why there are none
    synthetic: tuple[str, ...] = ()  # ids of its data sets that a source generated

    @property
    def transitions(self) -> int:
        """The number of recorded steps."""
        return int(self.lengths.sum())

    @property
    def recorded_returns(self) -> np.ndarray:
        """(E,) the returns without the reward shift, which scores are of."""
        return self.returns - self.reward_shift * self.lengths

    @property
    def action_dim(self) -> int:
        return self.episodes.action.shape[-1]

    def shift_observation(self, observation: np.ndarray) -> np.ndarray:
        """Observations (..., observation_dim) of the environment, less the origin, as float32."""
        return np.asarray(observation - self.observation_origin, np.float32)

    def unshift_observation(self, observation: np.ndarray) -> np.ndarray:
        """Observations (..., observation_dim) as the environment has them.

        float64 where the origin is not 0.
        """
        shifted = self.observation_origin.any()
        return observation + self.observation_origin if shifted else observation

    def scale_action(self, action: np.ndarray) -> np.ndarray:
        """Maps actions (..., action_dim) from the environment's units to [-1, 1]."""
        return scale_between(action, self.action_low, self.action_high)

    def unscale_action(self, action: np.ndarray) -> np.ndarray:
        """Maps actions (..., action_dim) from [-1, 1] to the environment's units."""
        return (action + 1.0) / 2.0 * (self.action_high - self.action_low) + self.action_low

    def in_units(self, field: str, values: np.ndarray) -> np.ndarray:
        """A field of `Transition` in the environment's units."""
        match field:
            case "action" | "next_action":
                return self.unscale_action(values)
            case "observation" | "next_observation":
                return self.unshift_observation(values)
            case "reward" if self.reward_shift:
                return values - np.float32(self.reward_shift)
        return values

    def from_units(self, field: str, values: np.ndarray) -> np.ndarray:
        """The inverse of `in_units`, as float32."""
        match field:
            case "action" | "next_action":
                return self.scale_action(values).astype(np.float32)
            case "observation" | "next_observation":
                return self.shift_observation(values)
            case "reward" if self.reward_shift:
                return values + np.float32(self.reward_shift)
        return values


class Context(struct.PyTreeNode):
    """What a window is generated from."""

    observation: Array  # (B, observation_dim) the current state
    action: Array  # (B, action_dim) the action taken in it
    return_to_go: Array  # (B,) the target return-to-go, divided by the return scale


class Window(struct.PyTreeNode):
    """T consecutive states of one episode; a terminal state repeats to the end of the window."""

    context: Context
    observation: Array  # (B, T, observation_dim)
    action: Array  # (B, T, action_dim) taken in each state; zeros where there is none
    reward: Array  # (B, T) of the action taken in each state
    terminal: Array  # (B, T) bool; whether the state is terminal
    observation_mask: Array  # (B, T) bool; False where a terminal state repeats
    reward_mask: Array  # (B, T) bool; False where no action was recorded


class Rollout(struct.PyTreeNode):
    """A generated window, which starts from the context's state."""

    observation: Array  # (B, T, observation_dim)
    reward: Array | None  # (B, T); None where the model generates none
    terminal: Array  # (B, T) bool
    # (B, n, action_dim) of the first n steps, which need not be inferred; None: the context's alone
    action: Array | None = None


class Transition(struct.PyTreeNode):
    """What learners are trained on, whatever its source."""

    observation: Array  # (N, observation_dim)
    action: Array  # (N, action_dim)
    reward: Array  # (N,); of several steps, their discounted sum
    discount: Array  # (N,) gamma to the power of the steps, or 0 where next_observation is terminal
    next_observation: Array  # (N, observation_dim)
    next_action: Array  # (N, action_dim) the action taken in next_observation; zeros if none is
    next_action_mask: Array  # (N,) bool; False where no next action is known
    recorded: Array  # (N,) bool; False for synthetic rows
