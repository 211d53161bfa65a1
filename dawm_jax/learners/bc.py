"""Behavior cloning: a deterministic policy regressed on the data's actions."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from dawm_jax.learners.protocol import DataStatistics, LearnerSettings, Metrics
from dawm_jax.networks.actor_critic import DeterministicPolicy
from dawm_jax.training.optimizer import gradient_step
from dawm_jax.types import Array, Transition


class BCState(struct.PyTreeNode):
    actor: optax.Params
    averaged_actor: optax.Params
    opt_state: optax.OptState
    statistics: DataStatistics


@dataclass(frozen=True)
class BC(LearnerSettings):
    """Behavior cloning with the mean squared error of the action."""

    version = 3

    def init(self, key: Array, statistics: DataStatistics) -> BCState:
        actor = self._policy(statistics).init(key, statistics.observation_mean)
        averaged = jax.tree.map(jnp.copy, actor)
        return BCState(actor, averaged, self._optimizer.init(actor), statistics)

    def update(self, state: BCState, batch: Transition, key: Array) -> tuple[BCState, Metrics]:
        del key
        batch = self._rows(self.policy_rows, batch)
        observation = state.statistics.normalize(batch.observation)
        policy = self._policy(state.statistics)

        def loss_fn(params: optax.Params) -> Array:
            action = policy.apply(params, observation)
            chex.assert_equal_shape([action, batch.action])
            return jnp.mean((action - batch.action) ** 2)

        actor, opt_state, loss, _ = gradient_step(
            self._optimizer, loss_fn, state.actor, state.opt_state
        )
        averaged = self._polyak(actor, state.averaged_actor)
        state = state.replace(actor=actor, averaged_actor=averaged, opt_state=opt_state)
        return state, {"actor_loss": loss}

    def act(self, state: BCState, observation: Array, policy: str = "averaged") -> Array:
        params = state.averaged_actor if policy == "averaged" else state.actor
        network = self._policy(state.statistics)
        return network.apply(params, state.statistics.normalize(observation))

    def _policy(self, statistics: DataStatistics) -> DeterministicPolicy:
        return DeterministicPolicy(self.hidden, statistics.action_dim, self.policy_initialization)
