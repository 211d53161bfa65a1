"""Transitions that sum several rewards of a rollout.

One with h rewards bootstraps from the state h steps later, with discount gamma^h: on these a
one-step learner learns from h-step returns (the value expansion of DWM, Ding et al. 2024). If h is
drawn as below, its targets are lambda-returns in expectation.
"""

import jax
import jax.numpy as jnp

from dawm_jax.types import Array, Transition


def summed(
    step: Transition, kept: Array, horizon: Array, discount: float | Array
) -> tuple[Transition, Array]:
    """B rollouts of n one-step transitions as transitions that sum several rewards.

    A terminal state ends the sum.

    Args:
        step: transitions whose arrays start with (B, n).
        kept: (B, n) bool; those that may be part of a sum.
        horizon: (B, n) the number of rewards in the sum that begins at each.
        discount: gamma.

    Returns:
        The transitions, and which are valid (B, n): those whose steps are all kept and do not reach
        beyond the rollout.
    """
    count = step.reward.shape[1]
    begin = jnp.arange(count)
    ends = step.discount == 0.0
    end = jax.lax.cummin(jnp.where(ends, begin, count - 1), axis=1, reverse=True)
    last = jnp.minimum(begin + horizon - 1, end)
    later = begin - begin[:, None]  # (n, n) steps from the beginning of a sum
    within = (later >= 0) & (begin <= last[..., None])
    weight = jnp.where(within, jnp.asarray(discount) ** jnp.maximum(later, 0), 0.0)

    def at_last(values: Array) -> Array:
        index = last.reshape(*last.shape, *[1] * (values.ndim - 2))
        return jnp.take_along_axis(values, index, axis=1)

    transitions = step.replace(
        reward=jnp.einsum("btk,bk->bt", weight, step.reward),
        discount=jnp.where(at_last(ends), 0.0, jnp.asarray(discount) ** (last - begin + 1)),
        next_observation=at_last(step.next_observation),
        next_action=at_last(step.next_action),
        next_action_mask=at_last(step.next_action_mask),
    )
    whole = jnp.all(kept[:, None] | ~within, axis=-1)
    return transitions, whole & (begin + horizon <= count)


def drawn_horizons(keys: Array, count: int, decay: float) -> Array:
    """The number of rewards (B, n) of each sum in rollouts of n steps, for lambda-returns.

    With H steps left, h < H has probability (1 - decay) decay^(h - 1), and H the rest.

    Args:
        keys: (B,).
        count: n.
        decay: lambda, from 0 to 1.
    """
    shape = (count, count)
    goes_on = jax.vmap(lambda key: jax.random.bernoulli(key, decay, shape))(keys)
    drawn = 1 + jnp.sum(jnp.cumprod(goes_on, axis=-1), axis=-1)
    return jnp.minimum(drawn, count - jnp.arange(count))
