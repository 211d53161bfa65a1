"""TD3 (Fujimoto et al. 2018): what TD3+BC and ReBRAC share."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

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
from dawm_jax.networks.actor_critic import DeterministicPolicy, TwinCritic
from dawm_jax.networks.initialization import Initialization, Uniform
from dawm_jax.settings import CloningRows, Few, NotNegative, Positive, Rows
from dawm_jax.training.optimizer import gradient_step
from dawm_jax.types import Array, Transition


class TD3State(struct.PyTreeNode):
    actor: optax.Params
    critic: optax.Params
    target_actor: optax.Params
    target_critic: optax.Params
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    statistics: DataStatistics


@dataclass(frozen=True)
class TD3(LearnerSettings, ABC):
    """TD3 with the paper's settings; a learner adds its policy's loss and may change the target.

    One call of `update` makes `policy_delay` critic updates, then one of policy and targets: the
    order of the paper, without a condition on the step that a seed axis would evaluate both ways.

    With `cloning_rows` 'better', the policy imitates recorded rows, and a synthetic row if the
    critic values its action above the policy's own (the Q-filter of Nair et al. 2018).
    """

    critic_initialization: ClassVar[Initialization] = Uniform()

    policy_noise: NotNegative = 0.2
    noise_clip: Positive = 0.5
    policy_delay: Few = 2
    critic_layer_norm: bool = False  # in both critics; the policy has none
    critic_rows: Rows = "all"  # of a batch, in the critics' loss
    cloning_rows: CloningRows = "all"  # of the rows of the policy's loss, those that it imitates

    @property
    def updates_per_step(self) -> int:
        return self.policy_delay

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.policy_delay, self.batch_size)

    def init(self, key: Array, statistics: DataStatistics) -> TD3State:
        actor_key, critic_key = jax.random.split(key)
        observation = statistics.observation_mean[None]
        action = jnp.zeros((1, statistics.action_dim))
        actor = self._policy(statistics).init(actor_key, observation)
        critic = self._critic.init(critic_key, observation, action)
        return TD3State(
            actor=actor,
            critic=critic,
            target_actor=jax.tree.map(jnp.copy, actor),
            target_critic=jax.tree.map(jnp.copy, critic),
            actor_opt=self._optimizer.init(actor),
            critic_opt=self._optimizer.init(critic),
            statistics=statistics,
        )

    def update(self, state: TD3State, batch: Transition, key: Array) -> tuple[TD3State, Metrics]:
        """`batch` is (policy_delay, batch_size): one part for each critic update."""
        batch = state.statistics.normalize_batch(batch)

        def critic_step(
            carry: tuple[optax.Params, optax.OptState], inputs: tuple[Transition, Array]
        ) -> tuple[tuple[optax.Params, optax.OptState], Metrics]:
            critic, opt_state = carry
            part, noise_key = inputs
            part = self._rows(self.critic_rows, part)
            target = self.td_target(state, part, noise_key)
            critic, opt_state, (loss, q), _ = gradient_step(
                self._optimizer, self.critic_loss, critic, opt_state, part, target, has_aux=True
            )
            metrics = {"critic_loss": loss, **split_mean("q", q[0], part.recorded)}
            return (critic, opt_state), metrics

        keys = jax.random.split(key, self.policy_delay)
        (critic, critic_opt), metrics = jax.lax.scan(
            critic_step, (state.critic, state.critic_opt), (batch, keys), unroll=True
        )
        last = jax.tree.map(lambda leaf: leaf[-1], batch)
        actor, actor_opt, loss, _ = gradient_step(
            self._optimizer,
            self.actor_loss,
            state.actor,
            state.actor_opt,
            critic,
            self._rows(self.policy_rows, last),
            state.statistics,
        )
        state = state.replace(
            actor=actor,
            critic=critic,
            target_actor=self._polyak(actor, state.target_actor),
            target_critic=self._polyak(critic, state.target_critic),
            actor_opt=actor_opt,
            critic_opt=critic_opt,
        )
        return state, {"actor_loss": loss, **jax.tree.map(jnp.mean, metrics)}

    @abstractmethod
    def actor_loss(
        self,
        actor: optax.Params,
        critic: optax.Params,
        batch: Transition,
        statistics: DataStatistics,
    ) -> Array:
        """The policy's loss () on a batch (B,) of normalized observations."""

    def td_target(self, state: TD3State, batch: Transition, key: Array) -> Array:
        """r + gamma min Q(s', a~) (B,) of the target critics: clipped double Q-learning."""
        next_action = self.smoothed_action(state, batch, key)
        return batch.reward + batch.discount * self.next_value(state, batch, next_action)

    def smoothed_action(self, state: TD3State, batch: Transition, key: Array) -> Array:
        """a~ (B, action_dim): the target policy's action at s' with clipped noise."""
        noise = self.policy_noise * jax.random.normal(key, batch.action.shape)
        noise = jnp.clip(noise, -self.noise_clip, self.noise_clip)
        policy = self._policy(state.statistics)
        next_action = policy.apply(state.target_actor, batch.next_observation)
        return jnp.clip(next_action + noise, -1.0, 1.0)

    def next_value(self, state: TD3State, batch: Transition, next_action: Array) -> Array:
        """min Q(s', next_action) (B,) of the two target critics."""
        next_q = self._critic.apply(state.target_critic, batch.next_observation, next_action)
        return next_q.min(axis=0)

    def critic_loss(
        self, critic: optax.Params, batch: Transition, target: Array
    ) -> tuple[Array, Array]:
        """Sum of both critics' mean squared errors, and their Q-values (2, B)."""
        q = self._critic.apply(critic, batch.observation, batch.action)
        return twin_loss(q, target), q

    def cloning_mean(
        self, error: Array, batch: Transition, value: Callable[[Array], Array], own: Array
    ) -> Array:
        """Mean of `error` (B,) over the rows that the policy imitates.

        Args:
            value: Q(s, a) (B,) of actions (B, action_dim) in the states of the batch.
            own: (B,) that of the policy's actions.
        """
        if self.cloning_rows == "all":
            return jnp.mean(error)
        imitated = batch.recorded
        if self.cloning_rows == "better":
            imitated |= value(batch.action) > own
        return jnp.mean(error, where=imitated)

    def act(self, state: TD3State, observation: Array, policy: str = "averaged") -> Array:
        params = state.target_actor if policy == "averaged" else state.actor
        network = self._policy(state.statistics)
        return network.apply(params, state.statistics.normalize(observation))

    @property
    def _critic(self) -> TwinCritic:
        return TwinCritic(
            self.hidden,
            layer_norm=self.critic_layer_norm,
            initialization=self.critic_initialization,
        )

    def _policy(self, statistics: DataStatistics) -> DeterministicPolicy:
        return DeterministicPolicy(self.hidden, statistics.action_dim, self.policy_initialization)
