"""Policies and value functions of the learners."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from dawm_jax.networks.blocks import MLP
from dawm_jax.types import Array


class DeterministicPolicy(nn.Module):
    """Observation (..., observation_dim) -> action (..., action_dim) in (-1, 1)."""

    hidden: Sequence[int]
    action_dim: int

    @nn.compact
    def __call__(self, observation: Array) -> Array:
        return jnp.tanh(MLP((*self.hidden, self.action_dim))(observation))


class GaussianPolicy(nn.Module):
    """Observation -> mean in (-1, 1) and log standard deviation of a normal over actions.

    The deviation does not depend on the state, as in IQL's code for locomotion.
    """

    hidden: Sequence[int]
    action_dim: int

    @nn.compact
    def __call__(self, observation: Array) -> tuple[Array, Array]:
        mean = jnp.tanh(MLP((*self.hidden, self.action_dim))(observation))
        log_std = self.param("log_std", nn.initializers.zeros, (self.action_dim,))
        return mean, jnp.clip(log_std, -5.0, 2.0)


class TwinCritic(nn.Module):
    """Observation and action (B, ...) -> the Q-values of independent critics (count, B)."""

    hidden: Sequence[int]
    count: int = 2

    @nn.compact
    def __call__(self, observation: Array, action: Array) -> Array:
        twin = nn.vmap(
            MLP,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=self.count,
        )
        inputs = jnp.concatenate([observation, action], axis=-1)
        return twin((*self.hidden, 1))(inputs)[..., 0]


class Value(nn.Module):
    """Observation (B, ...) -> state value (B,)."""

    hidden: Sequence[int]

    @nn.compact
    def __call__(self, observation: Array) -> Array:
        return MLP((*self.hidden, 1))(observation)[..., 0]
