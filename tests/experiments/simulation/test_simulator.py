"""The simulator against recorded steps of the environments that DAWM is run on."""

from dataclasses import dataclass, replace

import gymnasium
import numpy as np
import pytest

from dawm_jax.data.formats.minari import load
from dawm_jax.data.spaces import Layout
from experiments.simulation.simulator import Simulator, make_simulator

CLIPS = {"Hopper-v5": True, "Walker2d-v5": True, "HalfCheetah-v5": False}


@dataclass(frozen=True)
class Steps:
    """Random steps of an environment, with what it knows and observations may not tell."""

    simulator: Simulator
    observation: np.ndarray
    velocity: np.ndarray  # unclipped
    action: np.ndarray  # in the units of the environment
    following: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


def dataset_of(recorded, name):
    """A data set that names an environment and has actions from -3 to 1."""
    dataset = load(recorded)
    environment = gymnasium.make(name or "Hopper-v5")
    size = environment.action_space.shape
    return replace(
        dataset,
        observation_origin=np.zeros(environment.observation_space.shape),
        environment=name and gymnasium.spec(name),
        observation_layout=Layout.of(environment.observation_space),
        action_layout=Layout.of(environment.action_space),
        action_low=np.full(size, -3.0),
        action_high=np.full(size, 1.0),
    )


@pytest.fixture(scope="module", params=CLIPS)
def steps(request, recorded):
    """Five episodes of ten steps from the start, from thrown and from falling positions."""
    environment = gymnasium.make(request.param)
    inner, rng, rows = environment.unwrapped, np.random.default_rng(0), []
    for episode in range(5):
        observation, _ = environment.reset(seed=episode)
        if episode:
            speed = rng.normal(size=inner.model.nv) * 2.0 * episode
            inner.set_state(inner.data.qpos + rng.uniform(-0.1, 0.1, inner.model.nq), speed)
            observation = inner._get_obs()
        for _ in range(10):
            action = rng.uniform(-1.0, 1.0, environment.action_space.shape)
            velocity = inner.data.qvel.copy()
            following, reward, terminated, _, _ = inner.step(action)
            rows.append((observation, velocity, action, following, reward, terminated))
            observation = following
    simulator = make_simulator(dataset_of(recorded, request.param))
    return Steps(simulator, *(np.array(column) for column in zip(*rows, strict=True)))


def scaled(action):
    """[-3, 1] to [-1, 1]."""
    return (action + 1.0) / 2.0


def test_recorded_steps_are_found_again_in_any_order(steps):
    known = steps.simulator.settable(steps.observation)
    order = np.random.default_rng(1).permutation(np.flatnonzero(known))
    assert len(order) >= 10
    following, reward, terminal = steps.simulator.step(
        steps.observation[order], scaled(steps.action[order])
    )
    np.testing.assert_allclose(following, steps.following[order], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(reward, steps.reward[order], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(terminal, steps.terminated[order])


def test_no_steps_have_no_outcome(steps):
    following, reward, terminal = steps.simulator.step(steps.observation[:0], steps.action[:0])
    assert following.shape == (0, steps.observation.shape[1])
    assert reward.shape == terminal.shape == (0,)


def test_states_whose_velocity_was_clipped_are_not_settable(steps):
    clips = CLIPS[steps.simulator.environment.spec.id]
    fast = (np.abs(steps.velocity) > 10.0).any(axis=1)
    assert 0.1 < fast.mean() < 0.9
    found = steps.simulator.settable(steps.observation)
    np.testing.assert_array_equal(found, ~fast if clips else np.ones_like(fast))
    np.testing.assert_array_equal(
        steps.simulator.settable(steps.observation.reshape(5, 10, -1)), found.reshape(5, 10)
    )


def test_only_velocities_at_the_limit_matter(steps):
    clips = CLIPS[steps.simulator.environment.spec.id]
    size, positions = steps.observation.shape[1], steps.simulator.positions
    for value in (10.0, -10.0):
        found = steps.simulator.settable(value * np.eye(size))
        np.testing.assert_array_equal(found, (np.arange(size) < positions) | (not clips))
        assert steps.simulator.settable(0.999 * value * np.ones(size))


def test_terminal_is_the_environments_own_rule(steps):
    found = steps.simulator.terminal(steps.following)
    if steps.simulator.environment.spec.id == "HalfCheetah-v5":
        assert found is None
        return
    assert 0.0 < steps.terminated.mean() < 1.0
    np.testing.assert_array_equal(found, steps.terminated)


@pytest.mark.parametrize("name", ["Pendulum-v1", "InvertedDoublePendulum-v5", None])
def test_no_simulator_where_observations_do_not_tell_the_state(recorded, name):
    assert make_simulator(dataset_of(recorded, name)) is None


def test_no_simulator_where_the_environment_is_not_installed(recorded):
    absent = gymnasium.envs.registration.EnvSpec("Absent-v0", entry_point="absent_package:Absent")
    assert make_simulator(replace(load(recorded), environment=absent)) is None
