"""Rollouts joined into longer episodes.

A rollout continues from the last state of the previous one that has an action, so that each adds
n - 1 of its n steps.
"""

from functools import partial

import jax
import jax.numpy as jnp

from dawm_jax.sources.base import RolloutSource, States
from dawm_jax.types import Array, Context, Transition


@partial(jax.jit, static_argnames=("source", "rollouts"))
def chained_return(
    source: RolloutSource,
    states: States,
    context: Context,
    discount: Array,
    return_scale: Array,
    key: Array,
    rollouts: int,
) -> Array:
    """The discounted return of episodes chained from rollouts, to compare with their target.

    Each of them is conditioned on the rest of the target. `source.steps` is at least 2.

    Args:
        context: B contexts, with their target return-to-go.
        rollouts: the number of rollouts to chain; later rewards do not count.

    Returns:
        (B,) in units of the return scale.
    """
    steps = source.steps - 1

    def extend(
        carry: tuple[Context, Array, Array, Array], key: Array
    ) -> tuple[tuple[Context, Array, Array, Array], None]:
        context, total, factor, alive = carry
        keys = jax.random.split(key, len(alive))
        step, valid = source.rollout(states, context, keys, discount)
        next_context, gained = continued(context, step, valid, discount, return_scale)
        total = total + factor * alive * gained
        return (next_context, total, factor * discount**steps, alive & valid[:, steps]), None

    count = len(context.action)
    start = (context, jnp.zeros(count), jnp.float32(1.0), jnp.ones(count, bool))
    (_, total, _, _), _ = jax.lax.scan(extend, start, jax.random.split(key, rollouts))
    return total


def continued(
    context: Context,
    step: Transition,
    valid: Array,
    discount: float | Array,
    return_scale: float | Array,
) -> tuple[Context, Array]:
    """The contexts of the next rollouts, conditioned on the rest of the target.

    Args:
        context: of the previous rollouts.
        step: their transitions (B, n).
        valid: (B, n) bool.

    Returns:
        The contexts, and what the first n - 1 steps gained, (B,) in units of the return scale.
    """
    steps = step.reward.shape[1] - 1
    weight = discount ** jnp.arange(steps)
    gained = (step.reward * valid)[:, :steps] @ weight / return_scale
    following = Context(
        observation=step.observation[:, steps],
        action=step.action[:, steps],
        return_to_go=(context.return_to_go - gained) / discount**steps,
    )
    return following, gained
