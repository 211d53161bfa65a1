"""TD3+BC (Fujimoto & Gu 2021): TD3 with a behavior cloning term in the policy's loss."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from dawm_jax.learners.protocol import DataStatistics
from dawm_jax.learners.td3 import TD3
from dawm_jax.settings import Positive
from dawm_jax.types import Array, Transition


@dataclass(frozen=True)
class TD3BC(TD3):
    """TD3+BC with the paper's settings."""

    version = 3

    bc_coefficient: Positive = 2.5

    def actor_loss(
        self,
        actor: optax.Params,
        critic: optax.Params,
        batch: Transition,
        statistics: DataStatistics,
    ) -> Array:
        """-lambda Q + (pi - a)^2, lambda = bc_coefficient / mean |Q| (equations 3 and 5).

        Q is the first critic's; the square is averaged over the action's dimensions.
        """
        action = self._policy(statistics).apply(actor, batch.observation)
        first = jax.tree.map(lambda leaf: leaf[:1], critic)

        def value(action: Array) -> Array:
            return self._critic.clone(count=1).apply(first, batch.observation, action)[0]

        q = value(action)
        scale = self.bc_coefficient / jax.lax.stop_gradient(jnp.mean(jnp.abs(q)))
        error = jnp.mean((action - batch.action) ** 2, axis=-1)
        return self.cloning_mean(error, batch, value, q) - scale * jnp.mean(q)
