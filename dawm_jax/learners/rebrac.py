"""ReBRAC (Tarasov et al. 2023, arXiv 2305.09836): TD3 with decoupled behavior penalties."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from dawm_jax.learners.protocol import DataStatistics
from dawm_jax.learners.td3 import TD3, TD3State
from dawm_jax.networks.initialization import Initialization, Uniform
from dawm_jax.settings import BatchSize, LearningRate, NotNegative, Width
from dawm_jax.types import Array, Transition


@dataclass(frozen=True)
class ReBRAC(TD3):
    """ReBRAC with the paper's settings for locomotion.

    The paper tunes both coefficients on each data set: `beta_actor` among 0.001, 0.01, 0.05 and
    0.1, `beta_critic` among 0, 0.001, 0.01, 0.1 and 0.5. The defaults are those of
    hopper-medium, and the most frequent ones.

    As in the authors' code, penalties are sums over the action's dimensions, and the policy
    maximizes the smaller of both critics, whose mean absolute value divides it. Unlike there:

    - observations are normalized, as for every learner here;
    - target networks follow the updated policy, as in TD3, instead of the one before its update.
    """

    version = 3
    policy_initialization: ClassVar[Initialization] = Uniform(bias=0.1, last=1e-3)
    critic_initialization: ClassVar[Initialization] = Uniform(bias=0.1, last=3e-3)

    batch_size: BatchSize = 1024
    hidden: tuple[Width, ...] = (256, 256, 256)
    learning_rate: LearningRate = 1e-3
    critic_layer_norm: bool = True
    beta_actor: NotNegative = 0.01  # weight of the penalty in the policy's loss
    beta_critic: NotNegative = 0.01  # weight of the penalty in the critics' target

    def td_target(self, state: TD3State, batch: Transition, key: Array) -> Array:
        """r + gamma (min Q(s', a~) - beta_critic ||a~ - a'||^2) (B,) of the target critics.

        a' is the data's next action; rows that have none are not penalized.
        """
        next_action = self.smoothed_action(state, batch, key)
        penalty = _squared_distance(next_action, batch.next_action) * batch.next_action_mask
        value = self.next_value(state, batch, next_action) - self.beta_critic * penalty
        return batch.reward + batch.discount * value

    def actor_loss(
        self,
        actor: optax.Params,
        critic: optax.Params,
        batch: Transition,
        statistics: DataStatistics,
    ) -> Array:
        """beta_actor ||pi - a||^2 - lambda min Q(s, pi), lambda = 1 / mean |min Q|, a constant."""
        action = self._policy(statistics).apply(actor, batch.observation)

        def value(action: Array) -> Array:
            return self._critic.apply(critic, batch.observation, action).min(axis=0)

        q = value(action)
        scale = 1.0 / jax.lax.stop_gradient(jnp.mean(jnp.abs(q)))
        distance = _squared_distance(action, batch.action)
        penalty = self.cloning_mean(distance, batch, value, q)
        return self.beta_actor * penalty - scale * jnp.mean(q)


def _squared_distance(action: Array, other: Array) -> Array:
    """||action - other||^2 (B,) of actions (B, action_dim)."""
    return jnp.sum((action - other) ** 2, axis=-1)
