from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from dawm_jax.data.minari_source import load
from experiments.environments import Evaluator, make_evaluator


def pendulum(recorded):
    """A data set that names Pendulum, whose actions go to 2."""
    return replace(
        load(recorded),
        environment=gymnasium.spec("Pendulum-v1"),
        action_low=np.array([-2.0]),
        action_high=np.array([2.0]),
    )


def test_returns_equal_episodes_stepped_by_hand(recorded):
    evaluator = Evaluator(pendulum(recorded), seeds=[4, 9], episodes=2, seed=0)
    actions = np.array([[0.5, -1.0], [1.0, 0.1]])
    returns = evaluator.returns(lambda observation: actions[..., None])
    for row in range(2):
        for column in range(2):
            environment = gymnasium.make("Pendulum-v1")
            environment.reset(seed=evaluator.reset_seeds[2 * row + column])
            total, ended = 0.0, False
            while not ended:
                step = environment.step(np.array([2.0 * actions[row, column]]))
                total, ended = total + step[1], step[2] or step[3]
            assert returns[row, column] == pytest.approx(total)


def test_episodes_of_different_lengths_keep_their_own_returns(recorded):
    evaluator = Evaluator(load(recorded), seeds=[0], episodes=4, seed=0)
    lengths = []

    def policy(observation):
        lengths.append(observation.shape)
        return np.zeros((1, 4, 3))

    first = evaluator.returns(policy)
    assert set(lengths) == {(1, 4, 11)}
    assert len(np.unique(first)) == 4
    np.testing.assert_array_equal(first, evaluator.returns(policy))


def test_a_policy_sees_the_seeds_own_observations(recorded):
    evaluator = Evaluator(pendulum(recorded), seeds=[1, 2], episodes=1, seed=0)
    alone = Evaluator(pendulum(recorded), seeds=[2], episodes=1, seed=0)

    def policy(observation):
        return np.clip(observation[..., :1] - observation[..., 1:2], -1, 1)

    assert evaluator.returns(policy)[1, 0] == pytest.approx(alone.returns(policy)[0, 0])


def test_no_environment_no_evaluator(recorded, capsys):
    assert make_evaluator(replace(load(recorded), environment=None), [0], 1, 0) is None
    assert "not evaluated" in capsys.readouterr().out
