"""Sources of rollouts that are known in advance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from linear_motion import linear_motion

from dawm_jax.models.ensemble import DynamicsEnsemble
from dawm_jax.sources import DAWM, ReturnTarget, RolloutSource
from dawm_jax.sources.base import cut_rollouts
from dawm_jax.types import Context


def rollouts(observation, action, reward, terminal, discount):
    """Transitions (B, n), from states (B, n + 1, d); `terminal` (B, n) is of the next states."""
    return cut_rollouts(observation, action, reward, action[:, :0], terminal, discount)


@dataclass(frozen=True)
class Echo(RolloutSource):
    """Repeats the context: its state and action, and its target return-to-go as the reward.

    `noise` scales normal noise in the rewards; state number `terminal_at` is terminal.
    """

    steps: int = 3
    target: ReturnTarget = field(default_factory=ReturnTarget)
    noise: float = 0.0
    terminal_at: int | None = None
    start_preference: float = 0.0

    def rollout(self, states, context, keys, discount):
        shape = (len(keys), self.steps)
        drawn = jax.vmap(lambda key: jax.random.normal(key, (self.steps,)))(keys)
        terminal = 1 + jnp.arange(self.steps) == self.terminal_at
        return rollouts(
            jnp.repeat(context.observation[:, None], self.steps + 1, axis=1),
            jnp.repeat(context.action[:, None], self.steps, axis=1),
            context.return_to_go[:, None] + self.noise * drawn,
            jnp.broadcast_to(terminal, shape),
            discount,
        )


@dataclass(frozen=True)
class Scripted(RolloutSource):
    """Rollouts of one position each, as `script` gives them.

    The script maps (context, keys, numbers of the n + 1 states, (1, n + 1)) to positions, rewards
    and terminal flags. The first action is the context's; each later one is the change of position.
    """

    script: Callable[[Context, Any, Any], tuple[Any, Any, Any]]
    steps: int = 3

    def rollout(self, states, context, keys, discount):
        numbers = jnp.arange(self.steps + 1.0)[None]
        shape = (len(keys), self.steps + 1)
        parts = self.script(context, keys, numbers)
        position, reward, terminal = (jnp.broadcast_to(part, shape) for part in parts)
        action = jnp.diff(position, axis=1)[..., None].at[:, 0].set(context.action)
        return rollouts(position[..., None], action, reward[:, :-1], terminal[:, 1:], discount)


SMALL = DynamicsEnsemble(networks=3, elites=2, hidden=(8,), held_out=20)


@cache
def untrained():
    """The data and an untrained state of the ensemble."""
    data = SMALL.data(linear_motion(100))
    return data, SMALL.init(jax.random.key(0), data)


@dataclass(frozen=True)
class Windows(DAWM):
    """DAWM with windows of noise, of which it needs no model; states beyond 1.5 are terminal."""

    dynamics: DynamicsEnsemble = SMALL

    def rollout(self, states, context, keys, discount, recorded=None):
        noise = jax.vmap(lambda key: jax.random.normal(key, (self.steps, 3)))(keys)
        observation = jnp.concatenate([context.observation[:, None], noise], axis=1)
        action = jnp.repeat(context.action[:, None], self.steps, axis=1)
        reward, terminal = noise[..., 1], noise[..., 0] > 1.5
        return cut_rollouts(observation, action, reward, action[:, 1:], terminal, discount)
