"""Returns of episodes that are chained from rollouts, against sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_sources import Scripted

from dawm_jax.sources.chains import chained_return
from dawm_jax.types import Context


def obtained(
    script, rollouts, discount=0.5, scale=1.0, steps=3, start=(0.0,), action=0.0, target=0.0
):
    """The return of `rollouts` chained from each position of `start`."""
    context = Context(
        observation=jnp.array(start)[:, None],
        action=jnp.full((len(start), 1), action),
        return_to_go=jnp.full(len(start), target),
    )
    source, scales = Scripted(script, steps), (jnp.float32(discount), jnp.float32(scale))
    return chained_return(source, {}, context, *scales, jax.random.key(0), rollouts)


@pytest.mark.parametrize("steps", [2, 5])
def test_a_rollout_starts_from_the_second_to_last_state_of_the_previous_one(steps):
    """Each state is one more than the previous one, and its reward is its number."""

    def script(context, keys, numbers):
        position = context.observation + numbers
        return position, position, False

    found = obtained(script, 3, 0.9, scale=10.0, steps=steps, start=(0.0, 5.0))
    paid = range(3 * (steps - 1))
    expected = [sum(0.9**k * (k + start) for k in paid) / 10.0 for start in (0, 5)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_return_by_hand():
    """Two rollouts of three steps each add two: 8 + 4/2, then 8/4 + 4/8, in units of 5."""

    def script(context, keys, numbers):
        return numbers, jnp.array([8.0, 4.0, 1000.0, 1000.0]), False

    np.testing.assert_allclose(obtained(script, 2, scale=5.0), [2.5], rtol=1e-6)


def test_rewards_in_or_after_a_terminal_state_do_not_count():
    """Every state has reward 1; states 1 to 7 end an episode at every step of a rollout."""

    def script(context, keys, numbers):
        position = context.observation[:, :1] + numbers
        return position, 1.0, position % 100 == 0

    ends = np.arange(1, 8)
    found = obtained(script, 3, discount=1.0, start=tuple(100.0 - ends))
    np.testing.assert_array_equal(found, np.minimum(ends, 6))


def test_the_next_rollout_starts_with_the_last_action():
    """The states are 0, 1, 4, 9 from the start on, so the action between the last two is 5."""

    def script(context, keys, numbers):
        return context.observation + numbers**2, context.action * (numbers == 0), False

    found = obtained(script, 3, action=2.0)
    np.testing.assert_allclose(found, [2.0 + 5.0 / 4 + 5.0 / 16], rtol=1e-6)


@pytest.mark.parametrize("steps", [2, 4])
def test_the_next_rollout_is_conditioned_on_the_rest_of_the_target(steps):
    """The reward of every step is a tenth of the rollout's target."""

    def script(context, keys, numbers):
        return numbers, 0.1 * context.return_to_go[:, None] * 20.0, False

    target, total, factor = 3.0, 0.0, 1.0
    for _ in range(3):
        gained = sum(0.1 * target * 0.8**t for t in range(steps - 1))
        total, target = total + factor * gained, (target - gained) / 0.8 ** (steps - 1)
        factor *= 0.8 ** (steps - 1)
    found = obtained(script, 3, discount=0.8, scale=20.0, steps=steps, target=3.0)
    np.testing.assert_allclose(found, [total], rtol=1e-5)


def test_every_rollout_of_every_episode_has_its_own_key():
    def script(context, keys, numbers):
        return numbers, jax.vmap(jax.random.normal)(keys)[:, None], False

    found = obtained(script, 3, discount=1.0, steps=2, start=(0.0,) * 4000)
    assert np.var(found) == pytest.approx(3.0, rel=0.1)  # 9 if the rollouts shared their key
    assert len(np.unique(found)) > 3900


def test_a_chain_uses_the_trained_states():
    class Shifted(Scripted):
        def rollout(self, states, context, keys, discount):
            transitions, valid = super().rollout(states, context, keys, discount)
            return transitions.replace(reward=transitions.reward + states["shift"]), valid

    def script(context, keys, numbers):
        return numbers, 0.0, False

    context = Context(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1))
    one = jnp.float32(1.0)
    found = chained_return(
        Shifted(script), {"shift": 2.0 * one}, context, one, one, jax.random.key(0), 2
    )
    np.testing.assert_allclose(found, [8.0], rtol=1e-6)
