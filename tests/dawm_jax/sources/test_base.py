"""Starts and return targets of rollouts, and the protocol of a source."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_sources import Echo

from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import UserError
from dawm_jax.sources import SOURCES, Recorded, ReturnTarget, RolloutSource

RETURNS = np.array([-2.0, 0.0, 1.0, 3.0, 8.0], np.float32)  # quantile 0.75 is 3, minimum -2
KEY = jax.random.key(3)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (ReturnTarget(value=0.7), [0.7] * 5),
        (ReturnTarget(value=0.0), [0.0] * 5),
        (ReturnTarget(value=-3.0, quantile=0.5), [-3.0] * 5),
        (ReturnTarget(own=1.25), [-1.6, 0, 1.25, 3.75, 10]),
        (ReturnTarget(conditional=True), [-2, 0, 1, 3, 8]),  # the least it can be
        (ReturnTarget(quantile=0.0), [-2, 0, 1, 3, 8]),
        (ReturnTarget(quantile=0.0, stretch=5.0), [-2, 0, 1, 3, 8]),
        (ReturnTarget(quantile=0.75, stretch=1.0), [3, 3, 3, 3, 8]),
        (ReturnTarget(quantile=0.75, stretch=1.2), [4, 4, 4, 4, 8]),  # -2 + 1.2 * 5
        (ReturnTarget(quantile=0.75, stretch=0.4), [0, 0, 1, 3, 8]),  # -2 + 0.4 * 5
        (ReturnTarget(quantile=1.0, stretch=1.1), [9] * 5),  # -2 + 1.1 * 10
        (ReturnTarget(), [-2 + 1.1 * 8] * 4 + [8]),  # quantile 0.9 is 6
    ],
)
def test_return_targets_by_hand(target, expected):
    found = target.of(RETURNS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_a_target_does_not_modify_the_recorded_returns():
    returns = RETURNS.copy()
    ReturnTarget(quantile=1.0).of(returns)
    ReturnTarget(value=1.0).of(returns)
    np.testing.assert_array_equal(returns, RETURNS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantile": 1.5}, "quantile is 1.5"),
        ({"quantile": -0.1}, "quantile is -0.1"),
        ({"stretch": 0.0}, "stretch is 0.0"),
        ({"value": float("nan")}, "value is nan"),
        ({"own": 0.0}, "own is 0.0"),
        ({"own": 1.2, "value": 1.0}, "value is 1.0 and ReturnTarget.own 1.2"),
        ({"own": 1.2, "conditional": True}, "conditional is True, value None and own 1.2"),
    ],
)
def test_an_invalid_return_target_is_named(settings, message):
    with pytest.raises(UserError, match=f"^ReturnTarget.{message}"):
        ReturnTarget(**settings)


@pytest.fixture(scope="module")
def scaled_returns(small_dataset):
    """Return-to-go of each recorded step, in units of the return scale (2)."""
    recorded = np.asarray(small_dataset.episodes.steps_left) > 0
    return np.asarray(small_dataset.episodes.return_to_go, np.float64)[recorded] / 2.0


def test_inputs_are_the_recorded_steps_and_their_targets(small_dataset, scaled_returns):
    target = ReturnTarget(quantile=0.5, stretch=1.1)
    inputs = Echo(target=target).inputs(small_dataset)
    low = scaled_returns.min()
    least = low + 1.1 * (np.median(scaled_returns) - low)
    assert 0.1 < np.mean(scaled_returns > least) < 0.9
    expected = np.maximum(scaled_returns, least)
    np.testing.assert_allclose(inputs.return_to_go, expected, rtol=1e-5)
    assert float(inputs.discount) == pytest.approx(0.9)
    rows = np.asarray(inputs.rows)
    transitions = to_transitions(small_dataset)
    np.testing.assert_array_equal(inputs.episodes.observation[rows], transitions.observation)
    np.testing.assert_array_equal(inputs.episodes.action[rows], transitions.action)


def test_without_a_target_the_recorded_return_is_the_target(small_dataset, scaled_returns):
    class Plain(RolloutSource):
        pass

    returns = Plain().inputs(small_dataset).return_to_go
    np.testing.assert_allclose(returns, scaled_returns, rtol=1e-6)


def test_starts_are_drawn_uniformly_with_their_own_action_and_target(small_dataset):
    inputs = Echo(target=ReturnTarget(quantile=0.0)).inputs(small_dataset)
    context = inputs.context(jax.vmap(inputs.draw)(jax.random.split(KEY, 8000)))
    transitions = to_transitions(small_dataset)
    states = np.asarray(transitions.observation)
    match = np.argmin(((context.observation[:, None] - states) ** 2).sum(-1), axis=1)
    np.testing.assert_array_equal(context.observation, states[match])
    np.testing.assert_array_equal(context.action, transitions.action[match])
    np.testing.assert_array_equal(context.return_to_go, inputs.return_to_go[match])
    counts = np.bincount(match, minlength=small_dataset.transitions)
    expected = 8000 / small_dataset.transitions
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_starts_can_favor_episodes_of_high_return(small_dataset):
    """Each episode's share of the starts is its steps times exp(preference * scaled return)."""
    source = Echo(target=ReturnTarget(quantile=0.5), start_preference=10.0)
    favored = source.inputs(small_dataset)
    uniform = replace(source, start_preference=0.0).inputs(small_dataset)
    assert len(favored.rows) == len(uniform.rows)
    lengths, returns = small_dataset.lengths, small_dataset.returns
    episode = np.repeat(np.arange(len(lengths)), lengths)
    scaled = (returns - returns.min()) / (returns.max() - returns.min())
    share = lengths * np.exp(10.0 * scaled)
    share /= share.sum()
    entry = np.searchsorted(uniform.rows, favored.rows)
    np.testing.assert_array_equal(uniform.rows[entry], favored.rows)
    counts = np.bincount(episode[entry], minlength=len(lengths))
    np.testing.assert_allclose(counts, share * len(episode), atol=1.0)
    assert counts.max() > 2 * lengths[counts.argmax()]
    repeats = np.bincount(entry, minlength=len(episode))
    expected = (share / lengths)[episode] * len(episode)
    assert np.abs(repeats - expected).max() < 1.0  # no step of an episode is favored
    np.testing.assert_array_equal(favored.return_to_go, uniform.return_to_go[entry])


def test_returns_that_are_all_the_same_favor_no_start(small_dataset):
    same = replace(small_dataset, returns=np.ones_like(small_dataset.returns))
    found = Echo(start_preference=10.0).inputs(same)
    chex.assert_trees_all_equal(found, Echo().inputs(small_dataset))


def test_a_unit_is_a_rollout_of_its_own_start_and_key(small_dataset):
    """One half of the unit's key draws the start, the other the rollout."""
    source = Echo(noise=1.0)
    inputs = source.inputs(small_dataset)
    index = jnp.array([4, 0, 7])
    transitions, valid = source.generate({}, inputs, index, KEY)
    for place, number in enumerate([4, 0, 7]):
        start_key, rollout_key = jax.random.split(jax.random.fold_in(KEY, number))
        context = inputs.context(inputs.draw(start_key)[None])
        alone, alone_valid = source.rollout({}, context, rollout_key[None], inputs.discount)
        chex.assert_trees_all_equal(
            jax.tree.map(lambda leaf, place=place: leaf[place], (transitions, valid)),
            jax.tree.map(lambda leaf: leaf[0], (alone, alone_valid)),
        )
    np.testing.assert_array_equal(transitions.discount, np.float32(0.9))
    assert len(np.unique(transitions.reward)) == 9


def test_a_unit_depends_on_its_number_and_the_key_alone(small_dataset):
    source = Echo(noise=1.0)
    inputs = source.inputs(small_dataset)
    generate = jax.jit(source.generate)
    every = generate({}, inputs, jnp.arange(12), KEY)
    some = jnp.array([9, 2, 5])
    chex.assert_trees_all_equal(
        generate({}, inputs, some, KEY), jax.tree.map(lambda leaf: leaf[some], every)
    )
    other = generate({}, inputs, jnp.arange(12), jax.random.key(4))
    assert (other[0].reward != every[0].reward).all()


def test_the_trained_states_reach_the_rollout(small_dataset):
    class Biased(Echo):
        def rollout(self, states, context, keys, discount):
            transitions, valid = super().rollout(states, context, keys, discount)
            return transitions.replace(reward=transitions.reward + states["bias"]), valid

    inputs = Biased().inputs(small_dataset)
    index = jnp.arange(5)
    plain, biased = (
        Biased().generate({"bias": jnp.float32(bias)}, inputs, index, KEY)[0].reward
        for bias in (0.0, 10.0)
    )
    np.testing.assert_allclose(biased, plain + 10.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("steps", "transitions", "units"), [(3, 100, 34), (3, 99, 33), (3, 1, 1), (1, 7, 7)]
)
def test_units_are_rounded_up(steps, transitions, units):
    assert Echo(steps=steps).units(transitions) == units


def test_the_recorded_source_trains_no_model_and_adds_no_transitions(small_dataset):
    source = Recorded()
    assert source.models() == {}
    assert source.units(1_000_000) == 0
    assert source.inputs(small_dataset) is None


@pytest.mark.parametrize("name", SOURCES)
def test_every_registered_source_implements_the_protocol(name, small_dataset):
    """It has a version, data for each of its models, and enough units for a request."""
    source = SOURCES[name]()
    assert source.version >= 1
    assert hash(source) == hash(SOURCES[name]())
    for model, settings in source.models().items():
        assert settings.steps >= 1
        shape = settings.batch_shape
        batch = source.data(model, small_dataset).sample(KEY, shape)
        assert {leaf.shape[: len(shape)] for leaf in jax.tree.leaves(batch)} == {shape}
    assert source.units(1) in (0, 1)
    assert source.units(1000) >= source.units(10)
