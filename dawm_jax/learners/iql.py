"""IQL (Kostrikov et al. 2021): expectile values and advantage-weighted regression."""

from dataclasses import dataclass
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from dawm_jax.learners.protocol import (
    DataStatistics,
    LearnerSettings,
    Metrics,
    split_mean,
    twin_loss,
)
from dawm_jax.networks.actor_critic import GaussianPolicy, TwinCritic, Value
from dawm_jax.networks.initialization import Initialization, Orthogonal
from dawm_jax.settings import Between, Positive, Rows
from dawm_jax.training.optimizer import gradient_step
from dawm_jax.types import Array, Transition

MAX_WEIGHT = 100.0
SMALLEST_SPREAD = 1e-30  # of returns; the inverse of a far smaller one overflows float32


class IQLState(struct.PyTreeNode):
    actor: optax.Params
    averaged_actor: optax.Params
    critic: optax.Params
    target_critic: optax.Params
    value: optax.Params
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    value_opt: optax.OptState
    statistics: DataStatistics


@dataclass(frozen=True)
class IQL(LearnerSettings):
    """IQL with the paper's settings for locomotion.

    Rewards are multiplied by 1000 / (best - worst episode return) of the recorded data.
    Observations are normalized, as for every learner here.

    With `advantage_rows` 'recorded', synthetic rows have weight 1 in the policy's loss: critics
    that learn from recorded rows alone cannot tell which of their actions are good.
    """

    version = 4
    policy_initialization: ClassVar[Initialization] = Orthogonal()
    critic_initialization: ClassVar[Initialization] = Orthogonal()  # and of the value function

    expectile: Between = 0.7
    inverse_temperature: Positive = 3.0
    critic_layer_norm: bool = False  # in both critics and the value function, not in the policy
    critic_rows: Rows = "all"  # of a batch, in the losses of critics and value
    advantage_rows: Rows = "all"  # of the policy's, those with a weight; others are cloned

    def init(self, key: Array, statistics: DataStatistics) -> IQLState:
        actor_key, critic_key, value_key = jax.random.split(key, 3)
        observation = statistics.observation_mean[None]
        action = jnp.zeros((1, statistics.action_dim))
        actor = self._policy(statistics).init(actor_key, observation)
        critic = self._critic.init(critic_key, observation, action)
        value = self._value.init(value_key, observation)
        return IQLState(
            actor=actor,
            averaged_actor=jax.tree.map(jnp.copy, actor),
            critic=critic,
            target_critic=jax.tree.map(jnp.copy, critic),
            value=value,
            actor_opt=self._actor_optimizer.init(actor),
            critic_opt=self._optimizer.init(critic),
            value_opt=self._optimizer.init(value),
            statistics=statistics,
        )

    def update(self, state: IQLState, batch: Transition, key: Array) -> tuple[IQLState, Metrics]:
        """Value, then policy and critic with the new value, then the target critic."""
        del key
        statistics = state.statistics
        batch = statistics.normalize_batch(batch)
        batch = batch.replace(reward=batch.reward * reward_scale(statistics))
        of_all = "all" in (self.critic_rows, self.advantage_rows)
        judged = self._rows("all" if of_all else "recorded", batch)
        q = self._critic.apply(state.target_critic, judged.observation, judged.action).min(axis=0)
        critic_batch, critic_q = self._rows(self.critic_rows, (judged, q))

        value, value_opt, value_loss, _ = gradient_step(
            self._optimizer, self.value_loss, state.value, state.value_opt, critic_batch, critic_q
        )

        policy_batch = self._rows(self.policy_rows, batch)
        weighted = self._rows(self.advantage_rows, policy_batch)
        advantage = q[: len(weighted.reward)] - self._value.apply(value, weighted.observation)
        cloned = len(policy_batch.reward) - len(advantage)
        advantage = jnp.pad(advantage, (0, cloned))  # a weight of 1
        actor, actor_opt, actor_loss, _ = gradient_step(
            self._actor_optimizer,
            self.actor_loss,
            state.actor,
            state.actor_opt,
            policy_batch,
            advantage,
            statistics,
        )

        next_value = self._value.apply(value, critic_batch.next_observation)
        target = critic_batch.reward + critic_batch.discount * next_value
        critic, critic_opt, critic_loss, _ = gradient_step(
            self._optimizer, self.critic_loss, state.critic, state.critic_opt, critic_batch, target
        )

        state = state.replace(
            actor=actor,
            averaged_actor=self._polyak(actor, state.averaged_actor),
            critic=critic,
            target_critic=self._polyak(critic, state.target_critic),
            value=value,
            actor_opt=actor_opt,
            critic_opt=critic_opt,
            value_opt=value_opt,
        )
        losses = {"actor_loss": actor_loss, "critic_loss": critic_loss, "value_loss": value_loss}
        return state, {**losses, **split_mean("q", q, judged.recorded)}

    def value_loss(self, value: optax.Params, batch: Transition, q: Array) -> Array:
        """Expectile regression of V on Q (equation 5)."""
        v = self._value.apply(value, batch.observation)
        chex.assert_equal_shape([q, v])
        error = q - v
        weight = jnp.where(error > 0.0, self.expectile, 1.0 - self.expectile)
        return jnp.mean(weight * error**2)

    def critic_loss(self, critic: optax.Params, batch: Transition, target: Array) -> Array:
        """Sum of both critics' mean squared errors (equation 6)."""
        q = self._critic.apply(critic, batch.observation, batch.action)
        return twin_loss(q, target)

    def actor_loss(
        self, actor: optax.Params, batch: Transition, advantage: Array, statistics: DataStatistics
    ) -> Array:
        """Advantage-weighted regression (equation 7): -exp(beta A) log pi(a | s)."""
        mean, log_std = self._policy(statistics).apply(actor, batch.observation)
        error = (batch.action - mean) / jnp.exp(log_std)
        log_prob = jnp.sum(-0.5 * error**2 - log_std - 0.5 * jnp.log(2 * jnp.pi), axis=-1)
        chex.assert_equal_shape([advantage, log_prob])
        weight = jnp.minimum(jnp.exp(self.inverse_temperature * advantage), MAX_WEIGHT)
        return -jnp.mean(weight * log_prob)

    def act(self, state: IQLState, observation: Array, policy: str = "averaged") -> Array:
        params = state.averaged_actor if policy == "averaged" else state.actor
        network = self._policy(state.statistics)
        return network.apply(params, state.statistics.normalize(observation))[0]

    @property
    def _actor_optimizer(self) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(self.learning_rate, self.steps))

    @property
    def _critic(self) -> TwinCritic:
        return TwinCritic(
            self.hidden,
            layer_norm=self.critic_layer_norm,
            initialization=self.critic_initialization,
        )

    @property
    def _value(self) -> Value:
        return Value(
            self.hidden,
            layer_norm=self.critic_layer_norm,
            initialization=self.critic_initialization,
        )

    def _policy(self, statistics: DataStatistics) -> GaussianPolicy:
        return GaussianPolicy(self.hidden, statistics.action_dim, self.policy_initialization)


def reward_scale(statistics: DataStatistics) -> Array:
    """1000 / (best - worst episode return), or 1 where all returns are (as good as) the same."""
    spread = statistics.return_range
    differ = spread > SMALLEST_SPREAD
    return jnp.where(differ, 1000.0 / jnp.where(differ, spread, 1.0), 1.0)
