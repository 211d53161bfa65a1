"""Transitions that sum several rewards, against loops over steps."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_sources import Windows, untrained

from dawm_jax.sources.base import cut_rollouts
from dawm_jax.sources.multistep import drawn_horizons, summed

KEY = jax.random.key(0)
GAMMA = 0.9


def random_rollouts(count=40, steps=6):
    """One-step transitions of rollouts, some of which end, and which are valid."""
    rng = np.random.default_rng(0)
    arrays = (
        rng.normal(size=(count, steps + 1, 2)),
        rng.normal(size=(count, steps, 1)),
        rng.normal(size=(count, steps)),
        rng.normal(size=(count, steps - 1, 1)),
    )
    terminal = rng.uniform(size=(count, steps)) < 0.1
    return cut_rollouts(*(jnp.asarray(a, jnp.float32) for a in arrays), terminal, GAMMA)


def looped(step, kept, horizon):
    """Reward, discount, next observation, next action, whether it is known, and validity."""
    step = jax.tree.map(np.asarray, step)
    for row in range(step.reward.shape[0]):
        for begin in range(step.reward.shape[1]):
            total, factor, whole = 0.0, 1.0, True
            for now in range(begin, begin + horizon[row, begin]):
                if now == step.reward.shape[1]:
                    whole = False
                    break
                whole &= bool(kept[row, now])
                total += factor * step.reward[row, now]
                factor *= step.discount[row, now]
                last = now
                if factor == 0.0:  # an end, after which rewards do not count
                    whole &= begin + horizon[row, begin] <= step.reward.shape[1]
                    break
            following = step.next_observation[row, last], step.next_action[row, last]
            yield total, factor, *following, step.next_action_mask[row, last], whole


@pytest.mark.parametrize("horizon", [3, "mixed"])
def test_sums_of_rewards_against_a_loop(horizon):
    step, valid = random_rollouts()
    rng = np.random.default_rng(1)
    horizon = rng.integers(1, 7, valid.shape) if horizon == "mixed" else np.full((40, 6), horizon)
    kept = np.asarray(valid) & (rng.uniform(size=valid.shape) < 0.9)
    found, whole = jax.jit(summed)(step, kept, horizon, GAMMA)
    parts = [np.array(part) for part in zip(*looped(step, kept, horizon), strict=True)]
    *expected, expected_whole = (part.reshape(40, 6, *part.shape[1:]) for part in parts)
    np.testing.assert_array_equal(whole, expected_whole)
    assert whole.any()
    names = ("reward", "discount", "next_observation", "next_action", "next_action_mask")
    for name, values in zip(names, expected, strict=True):
        got = np.asarray(getattr(found, name))[whole]
        np.testing.assert_allclose(got, values[whole], rtol=1e-5, atol=1e-6)
    for name in ("observation", "action", "recorded"):
        np.testing.assert_array_equal(getattr(found, name), getattr(step, name))


def test_one_reward_changes_nothing():
    step, valid = random_rollouts()
    found, whole = jax.jit(summed)(step, valid, jnp.ones(valid.shape, int), GAMMA)
    np.testing.assert_array_equal(whole, valid)
    for name, values in vars(step).items():
        np.testing.assert_array_equal(getattr(found, name)[valid], values[valid])


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_the_number_of_rewards_has_the_weights_of_the_lambda_return(decay):
    count, keys = 4, jax.random.split(KEY, 20_000)
    drawn = np.asarray(drawn_horizons(keys, count, decay))
    for begin in range(count):
        left = count - begin
        weights = [(1.0 - decay) * decay ** (h - 1) for h in range(1, left)] + [decay ** (left - 1)]
        shares = np.bincount(drawn[:, begin], minlength=left + 1)[1:] / len(keys)
        np.testing.assert_allclose(shares, weights, atol=0.02)
    if 0.0 < decay < 1.0:
        assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.05


def test_targets_are_lambda_returns_in_expectation():
    """With values of the next states; the recursion of Sutton & Barto (2018, eq. 12.2 f.)."""
    step, valid = random_rollouts(count=1)
    valid, decay = jnp.ones_like(valid), 0.6
    value = np.asarray(step.next_observation.sum(-1))[0]
    reward, discount = np.asarray(step.reward)[0], np.asarray(step.discount)[0]
    expected, after = np.zeros(6), value[-1]
    for t in reversed(range(6)):
        after = reward[t] + discount[t] * ((1.0 - decay) * value[t] + decay * after)
        expected[t] = after
    keys = jax.random.split(KEY, 20_000)
    many = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(keys), axis=0), (step, valid))
    found, whole = jax.jit(summed)(*many, drawn_horizons(keys, 6, decay), GAMMA)
    targets = found.reward + found.discount * found.next_observation.sum(-1)
    np.testing.assert_allclose(targets.mean(axis=0), expected, atol=0.05)
    assert whole.all()


@pytest.mark.parametrize(
    "settings",
    [{"return_lambda": 0.8}, pytest.param({"return_steps": 3}, marks=pytest.mark.slow)],
)
def test_a_source_delivers_the_sums_of_its_windows(small_dataset, settings):
    """With the filter, whose limit is that of single steps."""
    plain = Windows(filter_share=0.2)
    source = replace(plain, **settings)
    assert (plain.sums_rewards, source.sums_rewards) == (False, True)
    states = {"dynamics": untrained()[1]}
    limited = plain.calibrate(states, plain.inputs(small_dataset), KEY)
    inputs = source.calibrate(states, source.inputs(small_dataset), KEY)
    np.testing.assert_array_equal(inputs.limit, limited.limit)
    index = jnp.arange(50)
    step, kept = jax.jit(plain.generate)(states, limited, index, KEY)
    found, whole = jax.jit(source.generate)(states, inputs, index, KEY)
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(KEY, i))[1])(index)
    expected, expected_whole = summed(step, kept, source._horizons(keys), inputs.discount)
    np.testing.assert_array_equal(whole, expected_whole)
    np.testing.assert_array_equal(found.discount, expected.discount)
    powers = np.unique(np.asarray(found.discount)[whole])
    assert 0.0 in powers
    assert len(powers) == 2 if "return_steps" in settings else len(powers) > 5


@pytest.mark.parametrize(("steps", "units"), [(1, 15), (3, 20), (7, 100)])
def test_units_have_the_transitions_that_sum_so_many_rewards(steps, units):
    assert replace(Windows(), return_steps=steps).units(100) == units
