"""Rollouts of the one-step source: computed by hand with simple models, and properties."""

from dataclasses import dataclass, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset, random_episode
from linear_motion import CONTROL, DRIFT, NOISE, expected_outcome
from references import float64

from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import UserError
from dawm_jax.models.behavior import BehaviorPolicy
from dawm_jax.models.ensemble import MARGIN, DynamicsEnsemble
from dawm_jax.models.termination import TerminationModel
from dawm_jax.sources import SOURCES, OneStep
from dawm_jax.sources.chains import chained_return
from dawm_jax.sources.generate import Synthesis, synthesize
from dawm_jax.training.loop import fit
from dawm_jax.types import Context


@dataclass(frozen=True)
class Step(DynamicsEnsemble):
    """s' = s + 1, reward s_0 + 10 a_0, with a deviation of a_1."""

    def elite(self, state):
        return state

    def sample(self, state, observation, action, key):
        return observation + 1.0, observation[0] + 10.0 * action[0], action[1]


@dataclass(frozen=True)
class Constant(BehaviorPolicy):
    """Actions (0.1 s_0, 0.5)."""

    def sample(self, state, observation, key):
        return jnp.stack([0.1 * observation[..., 0], jnp.full_like(observation[..., 0], 0.5)], -1)


@dataclass(frozen=True)
class Beyond(TerminationModel):
    """States beyond 2 are terminal."""

    def terminal(self, state, observation):
        return observation[..., 0] > 2.0


BY_HAND = OneStep(Step(), Constant(), Beyond(), rollout_steps=3, penalty=2.0)
NO_STATES = {"dynamics": None, "behavior": None, "termination": None}


def contexts(observation, action=0.0, return_to_go=0.0):
    count = len(observation)
    return Context(
        jnp.asarray(observation, jnp.float32),
        jnp.full((count, 2), action),
        jnp.full(count, return_to_go),
    )


@cache
def jitted(source):
    return jax.jit(source.rollout)


def roll_out(source, states, context):
    keys = jax.random.split(jax.random.key(0), len(context.action))
    return jitted(source)(states, context, keys, 0.9)


def test_rollouts_by_hand():
    start = np.array([[-5.0, 0.0, 0.0], [0.5, 0.0, 0.0], [1.5, 7.0, 0.0]])
    transitions, valid = roll_out(BY_HAND, NO_STATES, contexts(start))
    steps = np.arange(3.0)
    state = start[:, None] + steps[:, None]
    np.testing.assert_allclose(transitions.observation, state)
    np.testing.assert_allclose(transitions.next_observation, state + 1.0)
    half = np.full((3, 3), 0.5)
    action = np.stack([0.1 * state[..., 0], half], axis=-1)
    np.testing.assert_allclose(transitions.action, action, rtol=1e-6)
    reward = 2.0 * state[..., 0] - 2.0 * 0.5
    np.testing.assert_allclose(transitions.reward, reward, rtol=1e-6)
    terminal = np.array([[0, 0, 0], [0, 1, 1], [1, 1, 1]], bool)
    np.testing.assert_array_equal(valid, [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(transitions.discount, np.where(terminal, 0.0, 0.9))
    np.testing.assert_array_equal(transitions.next_action_mask, ~terminal)
    next_action = np.stack([0.1 * (state[..., 0] + 1.0), half], axis=-1)
    np.testing.assert_allclose(
        transitions.next_action, np.where(terminal[..., None], 0.0, next_action), rtol=1e-6
    )
    assert not transitions.recorded.any()


@dataclass(frozen=True)
class Zero(BehaviorPolicy):
    """Always the same action."""

    def sample(self, state, observation, key):
        return jnp.broadcast_to(jnp.array([0.5, -0.5]), (*observation.shape[:-1], 2))


@dataclass(frozen=True)
class Never(TerminationModel):
    def terminal(self, state, observation):
        return jnp.zeros(observation.shape[:-1], bool)


def linear_episode(rng, steps):
    """An episode of the system of `linear_motion`, whose drift holds it near 0."""
    observation, action = [rng.normal(size=3) * NOISE[:3]], rng.uniform(-1.0, 1.0, (steps, 2))
    rewards = []
    for a in action:
        outcome = expected_outcome(observation[-1], a) + rng.normal(size=4) * NOISE
        observation.append(observation[-1] + outcome[:3])
        rewards.append(outcome[3])
    return np.array(observation), action, np.array(rewards), False


def test_rollouts_have_the_mean_and_variance_of_the_system():
    """Mean and variance after each step, of many rollouts from one state under one action."""
    rng = np.random.default_rng(0)
    dataset = make_dataset([linear_episode(rng, 200) for _ in range(20)])
    dynamics = DynamicsEnsemble(
        networks=3, elites=2, hidden=(32, 32), learning_rate=3e-3, batch_size=64, steps=800
    )
    source = OneStep(dynamics, Zero(), Never(), rollout_steps=4, penalty=0.0)
    data = source.data("dynamics", dataset)
    state = fit(dynamics, dynamics.init(jax.random.key(0), data), data, jax.random.key(1))
    start = np.array([0.3, 1.0, 0.01])
    states = NO_STATES | {"dynamics": state}
    transitions, valid = roll_out(source, states, contexts(np.tile(start, (4000, 1))))
    assert valid.all()
    transition, noise = np.eye(3) + DRIFT, np.diag(NOISE[:3] ** 2)
    mean, covariance = start, np.zeros((3, 3))
    spread = np.asarray(dataset.episodes.observation).std(axis=0)
    for t in range(4):
        drawn = float64(transitions.next_observation[:, t])
        mean = transition @ mean + CONTROL @ [0.5, -0.5]
        covariance = transition @ covariance @ transition.T + noise
        np.testing.assert_allclose(drawn.mean(axis=0) / spread, mean / spread, atol=0.15)
        np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(np.diag(covariance)), rtol=0.25)


SMALL = OneStep(
    DynamicsEnsemble(networks=3, elites=2, hidden=(8,)),
    BehaviorPolicy(hidden=(8,)),
    TerminationModel(),
    rollout_steps=4,
)
ENDS = ((30, True), (1, True), (25, False), (3, True), (20, False))


@cache
def initial(ends=ENDS):
    """States, untrained except for that of ends, and their data set of noise."""
    rng = np.random.default_rng(0)
    dataset = make_dataset([random_episode(rng, *end) for end in ends], 0.9, 2.0)
    key, models = jax.random.key(1), SMALL.models()
    data = {name: SMALL.data(name, dataset) for name in models}
    states = {name: model.init(key, data[name]) for name, model in models.items()}
    tree = fit(SMALL.termination, states["termination"], data["termination"], key)
    return states | {"termination": tree}, dataset


def synthetic(source=SMALL, count=100, key=2, chunk=1024, ends=ENDS):
    return synthesize(source, *initial(ends), Synthesis(count, chunk), jax.random.key(key))


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_chunk():
    whole, parts = (synthetic(chunk=chunk) for chunk in (1024, 9))
    assert 0 < len(whole.reward) < 100  # some end in a terminal state
    assert (whole.discount == 0.0).any()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), whole, parts)


def test_the_key_determines_the_result_and_every_step_has_its_own():
    one, same, other = (synthetic(key=key) for key in (2, 2, 3))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert np.isin(one.action, other.action).mean() < 0.02  # none but those at the bounds
    assert len(np.unique(one.action)) > 0.98 * one.action.size


def test_rollouts_start_at_recorded_steps_and_continue_from_their_own_states():
    ends = ((79, False),)  # without terminal states in the data, no rollout ends
    transitions = synthetic(ends=ends)
    assert len(transitions.reward) == 100
    assert (transitions.discount == np.float32(0.9)).all()
    assert transitions.next_action_mask.all()
    rollout = jax.tree.map(lambda leaf: leaf.reshape(25, 4, *leaf.shape[1:]), transitions)
    recorded = np.asarray(to_transitions(initial(ends)[1]).observation)
    distance = np.abs(rollout.observation[:, :1] - recorded).max(axis=-1)
    assert (distance.min(axis=1) == 0.0).all()
    np.testing.assert_array_equal(rollout.observation[:, 1:], rollout.next_observation[:, :-1])
    np.testing.assert_array_equal(rollout.action[:, 1:], rollout.next_action[:, :-1])


def test_the_action_and_return_of_the_context_do_not_matter():
    states, dataset = initial()
    start = np.asarray(dataset.episodes.observation)
    one, _ = roll_out(SMALL, states, contexts(start))
    other, _ = roll_out(SMALL, states, contexts(start, action=0.7, return_to_go=5.0))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert len(np.unique(one.action[:, 0])) > 1.9 * len(start)


def test_the_penalty_is_the_largest_norm_of_the_elites_deviations():
    states, _ = initial()
    free, penalized = (synthetic(replace(SMALL, penalty=penalty)) for penalty in (0.0, 2.0))
    low, high = (float(edge[-1]) for edge in states["dynamics"].outcome_range)
    assert low <= free.reward.min() < free.reward.max() <= high
    np.testing.assert_array_equal(free.next_observation, penalized.next_observation)
    every = SMALL.dynamics.predict(states["dynamics"], free.observation, free.action)[1]
    best = np.argsort(SMALL.dynamics.held_out_loss(states["dynamics"]))[:2]
    largest = np.sqrt((float64(every)[best] ** 2).sum(axis=-1)).max(axis=0)
    np.testing.assert_allclose(free.reward - penalized.reward, 2.0 * largest, rtol=1e-3)


def test_rollouts_stay_finite_and_in_range_where_the_model_diverges():
    states, dataset = initial()
    grown = jax.tree.map(lambda leaf: 1e4 * leaf, states["dynamics"].members.params)
    dynamics = states["dynamics"]
    wild = dynamics.replace(members=dynamics.members.replace(params=grown))
    start = contexts(np.asarray(dataset.episodes.observation))
    transitions, _ = roll_out(SMALL, states | {"dynamics": wild}, start)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(transitions))
    rows = np.asarray(SMALL.data("dynamics", dataset).rows)
    recorded = to_transitions(dataset)
    seen = np.concatenate([recorded.observation[rows], recorded.next_observation[rows]])
    margin = MARGIN * (seen.max(0) - seen.min(0)) + 1e-5
    reached = np.asarray(transitions.next_observation)
    assert (reached >= seen.min(0) - margin).all()
    assert (reached <= seen.max(0) + margin).all()
    assert (reached > seen.max(0)).any()


def test_nothing_follows_a_terminal_state():
    states, dataset = initial()
    start = contexts(np.asarray(dataset.episodes.observation))
    transitions, valid = roll_out(SMALL, states, start)
    terminal = np.asarray(transitions.discount) == 0.0
    assert terminal.any()
    for ends, alive in zip(terminal, np.asarray(valid), strict=True):
        first = np.argmax(ends) if ends.any() else len(ends) - 1
        assert alive.tolist() == [t <= first for t in range(len(ends))]
    np.testing.assert_array_equal(transitions.next_action_mask, ~terminal)
    assert (np.asarray(transitions.next_action)[terminal] == 0.0).all()
    assert (np.asarray(transitions.next_action)[~terminal] != 0.0).all()


def test_another_count_or_key_needs_no_recompilation(compiled):
    states, dataset = initial()
    source = replace(SMALL, rollout_steps=2)
    for count, key in ((100, 0), (300, 0), (100, 1)):
        synthesize(source, states, dataset, Synthesis(count, chunk=16), jax.random.key(key))
    assert compiled.count("jit(_generate)") == 1


def test_rollouts_can_be_chained():
    states, dataset = initial()
    start = contexts(np.asarray(dataset.episodes.observation)[:6], return_to_go=1.0)
    total = chained_return(SMALL, states, start, 0.9, 2.0, jax.random.key(0), rollouts=3)
    assert total.shape == (6,)
    assert np.isfinite(total).all()


def test_a_single_recorded_step_suffices():
    transitions = synthetic(count=8, ends=((1, True),))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(transitions))
    assert len(transitions.reward) == 2  # all recorded steps are terminal
    assert (transitions.discount == 0.0).all()


def test_the_registry_and_the_models():
    assert SOURCES["one_step"] is OneStep
    source = OneStep()
    assert list(source.models()) == ["dynamics", "behavior", "termination"]
    assert (source.steps, source.penalty) == (5, 1.0)
    assert source.units(11) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rollout_steps": 0}, "rollout_steps is 0"),
        ({"penalty": -1.0}, r"penalty is -1\.0"),
        ({"dynamics": None}, "dynamics is None"),
    ],
)
def test_an_invalid_setting_is_named(settings, message):
    with pytest.raises(UserError, match=message):
        OneStep(**settings)
