import re
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from dawm_jax.data.formats.minari import load
from dawm_jax.data.spaces import Layout
from dawm_jax.errors import UserError
from experiments.simulation.evaluator import Evaluator, in_units, make_evaluator
from experiments.simulation.simulator import make_simulator

PENDULUM, HOPPER = map(gymnasium.spec, ("Pendulum-v1", "Hopper-v5"))


def test_returns_equal_episodes_stepped_by_hand(recorded):
    pendulum = replace(
        load(recorded),
        observation_origin=np.full(3, 7.0),
        action_low=np.array([-2.0]),
        action_high=np.array([2.0]),
    )
    seen = []
    evaluator = Evaluator(PENDULUM, seeds=[4, 9], episodes=2, seed=0)
    actions = np.array([[0.5, -1.0], [1.0, 0.1]])

    def policy(observation):
        seen.append(observation)
        return actions[..., None]

    returns = evaluator.returns(in_units(policy, pendulum))
    assert {observation.dtype for observation in seen} == {np.dtype(np.float32)}
    cosine_and_sine = np.stack(seen)[..., :2] + 7.0
    np.testing.assert_allclose((cosine_and_sine**2).sum(-1), 1.0, atol=1e-5)
    for row in range(2):
        for column in range(2):
            environment = gymnasium.make("Pendulum-v1")
            environment.reset(seed=evaluator.reset_seeds()[2 * row + column])
            total, ended = 0.0, False
            while not ended:
                step = environment.step(np.array([2.0 * actions[row, column]]))
                total, ended = total + step[1], step[2] or step[3]
            assert returns[row, column] == pytest.approx(total)


def test_episodes_of_different_lengths_keep_their_own_returns():
    evaluator = Evaluator(HOPPER, seeds=[0], episodes=4, seed=0)
    lengths = []

    def policy(observation):
        lengths.append(observation.shape)
        return np.zeros((1, 4, 3))

    first = evaluator.returns(policy)
    assert set(lengths) == {(1, 4, 11)}
    assert len(np.unique(first)) == 4
    np.testing.assert_array_equal(first, evaluator.returns(policy))


def test_a_policy_sees_the_seeds_own_observations():
    evaluator = Evaluator(PENDULUM, seeds=[1, 2], episodes=1, seed=0)
    alone = Evaluator(PENDULUM, seeds=[2], episodes=1, seed=0)

    def policy(observation):
        return np.clip(observation[..., :1] - observation[..., 1:2], -1, 1)

    assert evaluator.returns(policy)[1, 0] == pytest.approx(alone.returns(policy)[0, 0])


def test_later_episodes_are_those_of_a_longer_evaluation():
    whole = Evaluator(PENDULUM, seeds=[1, 2], episodes=4, seed=3)
    part = Evaluator(PENDULUM, seeds=[1, 2], episodes=2, seed=3)

    def policy(observation):
        return np.clip(observation[..., :1], -1, 1)

    np.testing.assert_array_equal(part.returns(policy), whole.returns(policy)[:, :2])
    np.testing.assert_array_equal(part.returns(policy, first=2), whole.returns(policy)[:, 2:])


class Fragile(gymnasium.Wrapper):
    """Fails in its third step, in one way or the other, or in its reset."""

    def __init__(self, environment, failure):
        super().__init__(environment)
        self.failure, self.steps, self.closed = failure, 0, False

    def reset(self, **settings):
        self.steps = 0
        if self.failure == "reset":
            raise RuntimeError("cannot reset")
        return super().reset(**settings)

    def step(self, action):
        self.steps += 1
        observation, reward, *rest = super().step(action)
        if self.steps == 3 and self.failure == "step":
            raise RuntimeError("the robot fell apart")
        if self.steps == 3 and self.failure == "reward":
            reward = float("nan")
        return observation, reward, *rest

    def close(self):
        self.closed = True
        super().close()


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("reset", "at reset of episode 1 of seed 9: RuntimeError: cannot reset"),
        ("step", "at step 3 of episode 1 of seed 9: RuntimeError: the robot fell apart"),
        ("reward", "at step 3 of episode 1 of seed 9: ValueError: the reward is nan"),
    ],
)
def test_an_environment_that_fails_is_named_with_episode_and_step(failure, message):
    evaluator = Evaluator(PENDULUM, seeds=[4, 9], episodes=2, seed=0)
    evaluator.environments[3] = Fragile(evaluator.environments[3], failure)
    with pytest.raises(UserError, match=f"Pendulum-v1 failed in evaluation, {message}") as caught:
        evaluator.returns(lambda observation: np.zeros((2, 2, 1)))
    assert str(caught.value).endswith("run the same command to resume with this evaluation.")


def test_environments_are_closed():
    evaluator = Evaluator(PENDULUM, seeds=[4], episodes=2, seed=0)
    evaluator.environments = [Fragile(e, None) for e in evaluator.environments]
    evaluator.close()
    assert all(environment.closed for environment in evaluator.environments)


def test_no_environment_no_evaluator(recorded, capsys):
    assert make_evaluator(replace(load(recorded), evaluation_environment=None), [0], 1, 0) is None
    assert "names no environment: policies are trained but not" in capsys.readouterr().out


def test_no_episodes_no_evaluator(recorded, capsys):
    assert make_evaluator(load(recorded), [0], 0, 0) is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"entry_point": "no_such_package:Robot"}, "ModuleNotFoundError: .*no_such_package"),
        ({"entry_point": "gymnasium:NoSuchRobot"}, "AttributeError: .*NoSuchRobot"),
        ({"kwargs": {"no_such_keyword": 1}}, "TypeError: .*no_such_keyword"),
        ({"kwargs": {"xml_file": "/no/such/file.xml"}}, ".*no/such/file"),
    ],
)
def test_an_environment_that_cannot_be_made_costs_only_the_evaluation(
    recorded, capsys, change, reason
):
    broken = replace(gymnasium.spec("Hopper-v5"), **change)
    dataset = replace(load(recorded), environment=broken, evaluation_environment=broken)
    assert make_evaluator(dataset, [0], 1, 0) is None
    printed = capsys.readouterr().out
    assert re.match(f"policies are trained but not evaluated: {reason}", printed)
    assert make_simulator(dataset) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"evaluation_environment": gymnasium.spec("Walker2d-v5")},
            "observations in Walker2d-v5 have 17 numbers, those of 'local/.*' 11 .*_episodes=0",
        ),
        (
            {"action_layout": Layout.of(Box(-1.0, 1.0, (2,)))},
            "actions in Hopper-v5 have 3 numbers, those of .* 2 numbers:",
        ),
        ({"action_space": Box(-2.0, 2.0, (3,))}, r"bounds of actions differ: .* has low \[-2"),
    ],
)
def test_an_environment_that_does_not_fit_the_data_is_refused(recorded, change, message):
    with pytest.raises(UserError, match=message):
        make_evaluator(replace(load(recorded), **change), [0], 1, 0)


def test_bounds_that_the_data_do_not_state_fit_any_environment(recorded):
    unbounded = replace(load(recorded), action_space=Box(-np.inf, np.inf, (3,)))
    evaluator = make_evaluator(unbounded, [0], 1, 0)
    assert evaluator is not None
    evaluator.close()
