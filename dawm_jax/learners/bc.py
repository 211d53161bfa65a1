"""Behavior cloning: a deterministic policy regressed on the data's actions."""

from dataclasses import dataclass

import chex
import jax.numpy as jnp
import optax
from flax import struct

from dawm_jax.learners.protocol import DataStatistics, LearnerSettings, Metrics
from dawm_jax.networks.actor_critic import DeterministicPolicy
from dawm_jax.training.optimizer import gradient_step
from dawm_jax.types import Array, Transition


class BCState(struct.PyTreeNode):
    params: optax.Params
    opt_state: optax.OptState
    statistics: DataStatistics


@dataclass(frozen=True)
class BC(LearnerSettings):
    """Behavior cloning with the mean squared error of the action."""

    version = 1

    def init(self, key: Array, statistics: DataStatistics) -> BCState:
        params = self._policy(statistics).init(key, statistics.observation_mean)
        return BCState(params, self._optimizer.init(params), statistics)

    def update(self, state: BCState, batch: Transition, key: Array) -> tuple[BCState, Metrics]:
        del key
        observation = state.statistics.normalize(batch.observation)
        policy = self._policy(state.statistics)

        def loss_fn(params: optax.Params) -> Array:
            action = policy.apply(params, observation)
            chex.assert_equal_shape([action, batch.action])
            return jnp.mean((action - batch.action) ** 2)

        params, opt_state, loss, _ = gradient_step(
            self._optimizer, loss_fn, state.params, state.opt_state
        )
        return state.replace(params=params, opt_state=opt_state), {"actor_loss": loss}

    def act(self, state: BCState, observation: Array) -> Array:
        policy = self._policy(state.statistics)
        return policy.apply(state.params, state.statistics.normalize(observation))

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def _policy(self, statistics: DataStatistics) -> DeterministicPolicy:
        return DeterministicPolicy(self.hidden, statistics.action_dim)
