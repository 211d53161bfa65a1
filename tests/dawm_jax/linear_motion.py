"""Transitions of a linear system with Gaussian noise, without the code under test."""

import jax.numpy as jnp
import numpy as np
from references import float64

from dawm_jax.types import Transition

DRIFT = np.array([[-0.1, 0.02, 0.0], [1.0, -0.2, 0.0], [0.0, 0.0, -0.3]])
CONTROL = np.array([[0.5, 0.0], [2.0, -1.0], [0.0, 0.03]])
NOISE = np.array([0.2, 1.0, 0.02, 0.4])  # of the three changes of state and the reward


def expected_outcome(observation, action):
    """Change of state and reward of s' = s + DRIFT s + CONTROL a, r = a_0 - s_0."""
    observation, action = float64((observation, action))
    change = observation @ DRIFT.T + action @ CONTROL.T
    return np.concatenate([change, action[..., :1] - observation[..., :1]], axis=-1)


def linear_motion(count, seed=0):
    """`count` transitions of random states and actions, without terminal states."""
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(count, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    action = rng.uniform(-1.0, 1.0, size=(count, 2))
    outcome = expected_outcome(observation, action) + rng.normal(size=(count, 4)) * NOISE
    return transitions(observation, action, observation + outcome[:, :3], outcome[:, 3])


def transitions(observation, action, next_observation, reward=None, terminal=False):
    """Recorded transitions of discount .9, whose next actions are not known."""
    count = len(observation)
    reward = np.zeros(count) if reward is None else reward
    discount = np.where(np.broadcast_to(terminal, count), 0.0, 0.9)
    arrays = (observation, action, reward, discount, next_observation, np.zeros_like(action))
    known = np.zeros(count, bool)
    floats = (jnp.asarray(a, jnp.float32) for a in arrays)
    return Transition(*floats, next_action_mask=jnp.asarray(known), recorded=jnp.asarray(~known))
