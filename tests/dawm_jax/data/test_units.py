"""The unit and the zero of an observation change no result."""

import jax
import numpy as np
import pytest
from gymnasium.spaces import Box
from stored import buffer, write

from dawm_jax.data.formats.minari import load
from dawm_jax.data.holdout import hold_out
from dawm_jax.data.normalizer import NORMALIZERS
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.evaluation.fidelity import explained_variance
from dawm_jax.learners import DataStatistics
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.training.loop import fit

UNITS = {"1e-6": (1e-6, 0.0), "1e6": (1e6, 0.0), "far": (1.0, 1e7), "1e-6, far": (1e-6, -300.0)}


def episodes():
    """40 episodes of o' = .9 o + .3 a; the third feature is constant."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        states, actions = [rng.normal(size=3)], rng.uniform(-1.0, 1.0, (50, 2))
        for action in actions:
            states.append(0.9 * states[-1] + 0.3 * np.append(action, 0.0))
        states = np.array(states)
        states[:, 2] = 0.7
        yield states, actions, states[1:, 0], False


def stored(name, unit=1.0, zero=0.0):
    write(f"{name}-v0", [buffer((zero + unit * o, *rest)) for o, *rest in episodes()])
    return load(f"{name}-v0")


@pytest.fixture
def usual(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return stored("usual")


@pytest.mark.parametrize("name", UNITS)
def test_normalized_observations_are_those_of_the_usual_unit(usual, name):
    other = stored("other", *UNITS[name])
    for fit_to in NORMALIZERS.values():
        expected, found = (
            fit_to(data.episodes.observation).normalize(data.episodes.observation)
            for data in (usual, other)
        )
        np.testing.assert_allclose(found, expected, atol=2e-3)
    expected, found = (
        DataStatistics.of(data).normalize(data.episodes.observation) for data in (usual, other)
    )
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("name", UNITS)
def test_actions_are_inferred_in_any_unit(usual, name):
    model = InverseDynamics(steps=300, batch_size=128, hidden=(32, 32), learning_rate=3e-3)
    shares = []
    for data in (usual, stored("other", *UNITS[name])):
        training, held_out = hold_out(data, 0.1, 0)
        steps = TransitionSet(to_transitions(training))
        state = fit(model, model.init(jax.random.key(0), steps), steps, jax.random.key(1))
        step = to_transitions(held_out)
        found = model.predict(state, step.observation, step.next_observation)
        shares.append(explained_variance(found, step.action)["pooled"])
    assert shares[0] > 0.9
    assert shares[1] == pytest.approx(shares[0], abs=0.02)


@pytest.mark.parametrize("name", UNITS)
def test_the_environment_s_observations_come_back(usual, name):
    unit, zero = UNITS[name]
    data = stored("other", unit, zero)
    recorded = np.concatenate([zero + unit * observations for observations, *_ in episodes()])
    packed = np.asarray(data.episodes.observation)
    found = data.unshift_observation(packed)
    np.testing.assert_allclose(found[:, :2], recorded[:, :2], rtol=0, atol=4e-6 * unit)
    np.testing.assert_array_equal(data.shift_observation(recorded), packed)
    field = data.in_units("next_observation", packed)
    np.testing.assert_array_equal(data.from_units("next_observation", field), packed)


def test_data_near_zero_stay_as_they_are(usual):
    assert not usual.observation_origin.any()
    assert usual.unshift_observation(np.ones(3, np.float32)).dtype == np.float32


def test_float32_data_that_vary_by_rounding_alone_are_constant(usual):
    _, actions, rewards, _ = next(episodes())
    above = np.random.default_rng(0).integers(0, 2, (51, 3))
    observations = np.where(above, np.nextafter(np.float32(7.0), np.float32(8.0)), np.float32(7.0))
    space = Box(-np.inf, np.inf, (3,), np.float32)
    write("rounded-v0", [buffer((observations, actions, rewards, False))], space)
    data = load("rounded-v0")
    assert not data.observation_origin.any()
    assert (DataStatistics.of(data).observation_std == 1.0).all()


def test_joined_data_share_one_origin(usual):
    stored("far", 1.0, 1e7)
    stored("farther", 1.0, 1e7 + 3.0)
    both = load("far-v0+farther-v0")
    packed = np.asarray(both.episodes.observation)
    half = len(packed) // 2
    np.testing.assert_allclose(packed[half:] - packed[:half], 3.0, atol=1e-5)
