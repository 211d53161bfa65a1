"""Evaluation and judge in environments of nested observations and actions."""

import sys
from collections import OrderedDict
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete, Tuple

from dawm_jax.data.formats.minari import load
from dawm_jax.data.goals import KEYS
from dawm_jax.data.spaces import Layout
from dawm_jax.errors import UserError
from experiments.simulation import evaluator as evaluation
from experiments.simulation.environments import make, missing_extra
from experiments.simulation.evaluator import in_units, make_evaluator
from experiments.simulation.simulator import make_simulator

STATE, GOAL = Box(-9.0, 9.0, (2,), np.float64), Box(-9.0, 9.0, (1,), np.float64)


class Reach(gymnasium.Env):
    """Three steps; its Dict is in another order than that of the data."""

    observation_space = Dict(OrderedDict(observation=STATE, desired_goal=GOAL, achieved_goal=GOAL))
    action_space = Tuple((Box(-2.0, 2.0, (1,)), Dict(wrist=Box(-1.0, 1.0, (1,)))))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = self.np_random.normal(size=2), 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(
            (np.float32(action[0]), {"wrist": np.float32(action[1]["wrist"])})
        )
        self.steps += 1
        reward = self.state[0] + 10.0 * action[0][0] + 100.0 * action[1]["wrist"][0]
        return self._observation(), float(reward), False, self.steps == 3, {}

    def _observation(self):
        state = self.state.copy()
        return {"observation": state, "desired_goal": np.full(1, 7.0), "achieved_goal": state[1:]}


def reach(recorded, environment=Reach, **changes):
    """A goal-conditioned data set whose environment this is."""
    observations = Layout.of(Dict(dict(Reach.observation_space.spaces)))
    assert next(iter(observations.sizes)) == "achieved_goal"
    fields = {
        "evaluation_environment": EnvSpec("Reach-v0", entry_point=environment, max_episode_steps=9),
        "observation_layout": observations.without("achieved_goal"),
        "action_layout": Layout.of(Reach.action_space),
        "action_space": Layout.of(Reach.action_space).box,
        "observation_origin": np.zeros(3),
        "action_low": np.array([-2.0, -1.0]),
        "action_high": np.array([2.0, 1.0]),
    }
    return replace(load(recorded), **fields | changes)


def test_a_policy_sees_and_acts_in_the_order_of_the_data(recorded):
    dataset, seen = reach(recorded), []
    evaluator = make_evaluator(dataset, [0, 1], 2, 0)

    def policy(observation):
        seen.append(observation)
        return np.tile([0.5, -0.25], (2, 2, 1))

    returns = evaluator.returns(in_units(policy, dataset))
    assert seen[0].shape == (2, 2, 3)
    np.testing.assert_array_equal(seen[0][..., 0], 7.0)  # the desired goal comes first
    for place, seed in enumerate(evaluator.reset_seeds()):
        state = Reach().reset(seed=seed)[0]["observation"]
        at = np.unravel_index(place, (2, 2))
        np.testing.assert_allclose(seen[0][at][1:], state, rtol=1e-6)
        assert returns[at] == pytest.approx(3.0 * (state[0] + 10.0 * 1.0 - 100.0 * 0.25), rel=1e-6)


def test_scores_are_of_the_environment_s_rewards(recorded):
    dataset = reach(recorded)
    plain, shifted = (
        make_evaluator(replace(dataset, reward_shift=shift), [0], 1, 0).returns(
            lambda observation: np.zeros((1, 1, 2))
        )
        for shift in (0.0, -1.0)
    )
    np.testing.assert_array_equal(plain, shifted)


class OtherParts(Reach):
    observation_space = Dict(state=STATE, desired_goal=GOAL)


class OtherSize(Reach):
    observation_space = Dict(dict.fromkeys(KEYS, GOAL))


class WithGripper(Reach):
    action_space = Tuple((GOAL, Discrete(2)))


class OtherBounds(Reach):
    action_space = Tuple((Box(-2.0, 2.0, (1,)), Dict(wrist=Box(-3.0, 1.0, (1,)))))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (OtherParts, "observations in Reach-v0 have 2 numbers of state, .* numbers of achieved_g"),
        (OtherSize, "1 numbers of observation, those of .* 2 numbers of observation"),
        (WithGripper, r"actions in Reach-v0 have Tuple\(.*Discrete"),
        (OtherBounds, r"bounds of actions differ: .* has low \[-2. -1.\], Reach-v0 \[-2. -3.\]"),
    ],
)
def test_an_environment_with_other_parts_is_refused(recorded, environment, message):
    with pytest.raises(UserError, match=message):
        make_evaluator(reach(recorded, environment), [0], 1, 0)


def test_an_endless_environment_is_evaluated_for_a_limited_time(recorded, capsys, monkeypatch):
    """Pitfall: Minari's pointmaze was recorded with a limit of a million steps."""
    monkeypatch.setattr(evaluation, "LONGEST", 2)
    evaluator = make_evaluator(reach(recorded), [0], 1, 0)
    evaluator.returns(lambda observation: np.zeros((1, 1, 2)))
    assert evaluator.environments[0].unwrapped.steps == 2
    assert "evaluated for their first 2 steps" in capsys.readouterr().out


def test_a_missing_robotics_package_is_to_be_installed(recorded, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    environment = "gymnasium_robotics.envs.maze.point_maze:PointMazeEnv"
    assert make_evaluator(reach(recorded, environment), [0], 1, 0) is None
    assert "install it: pip install 'dawm-jax[robotics]'" in capsys.readouterr().out
    with pytest.raises(gymnasium.error.NameNotFound):
        make("NoSuchMaze-v3")
    assert missing_extra(ModuleNotFoundError("no jam", name="jam")) == ""


class NestedHopper(HopperEnv):
    """Hopper with named positions and velocities."""

    names = ("positions", "velocities")

    def __init__(self):
        super().__init__()
        bounds = [Box(-np.inf, np.inf, (size,), np.float64) for size in (5, 6)]
        self.observation_space = Dict(dict(zip(self.names, bounds, strict=True)))

    def _get_obs(self):
        return dict(zip(self.names, np.split(super()._get_obs(), [5]), strict=True))


class BackwardHopper(NestedHopper):
    names = ("the positions", "all velocities")


def hopper(recorded, environment):
    return replace(
        load(recorded),
        environment=EnvSpec("NestedHopper-v0", entry_point=environment),
        observation_layout=Layout.of(environment().observation_space),
    )


def test_the_judge_flattens_as_the_data_do(recorded):
    dataset = load(recorded)
    plain, nested = make_simulator(dataset), make_simulator(hopper(recorded, NestedHopper))
    states, actions = dataset.episodes.observation[:4], dataset.episodes.action[:4]
    for one, other in zip(plain.step(states, actions), nested.step(states, actions), strict=True):
        np.testing.assert_array_equal(one, other)


def test_observations_that_do_not_begin_with_positions_are_not_judged(recorded):
    assert make_simulator(hopper(recorded, BackwardHopper)) is None


def test_the_judge_s_rewards_are_shifted_as_the_data_s_are(recorded):
    dataset = load(recorded)
    shifted = load(recorded, reward_shift=-3.0)
    states, actions = dataset.episodes.observation[:2], dataset.episodes.action[:2]
    plain = make_simulator(dataset).step(states, actions)[1]
    np.testing.assert_allclose(make_simulator(shifted).step(states, actions)[1], plain - 3.0)
