"""Environments of Gymnasium-Robotics, where it is installed."""

import minari
import numpy as np
import pytest

from dawm_jax.data.formats.minari import load
from experiments.simulation.environments import make
from experiments.simulation.evaluator import make_evaluator

pytest.importorskip("gymnasium_robotics")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the environments


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


def record(name, environment_id, infos):
    """Two episodes of random actions, as Minari's collector records them."""
    environment = minari.DataCollector(make(environment_id), record_infos=infos)
    environment.action_space.seed(0)
    for seed in range(2):
        environment.reset(seed=seed)
        ended = False
        while not ended:
            _, _, terminated, truncated, _ = environment.step(environment.action_space.sample())
            ended = terminated or truncated
    environment.create_dataset(dataset_id=name)
    environment.close()


@pytest.mark.parametrize(
    ("environment_id", "infos", "sizes"),
    [
        ("PointMaze_UMaze-v3", True, {"desired_goal": 2, "observation": 4}),
        ("AdroitHandPen-v1", False, {"": 45}),
    ],
)
def test_recorded_episodes_are_loaded_and_policies_evaluated(environment_id, infos, sizes):
    record("robotics/task-v0", environment_id, infos)
    dataset = load("robotics/task-v0")
    assert dataset.observation_layout.sizes == sizes
    evaluator = make_evaluator(dataset, [0], 2, 0)
    seen = []

    def policy(observation):
        seen.append(observation)
        return np.zeros((1, 2, dataset.action_dim))

    returns = evaluator.returns(policy, steps=3)
    evaluator.close()
    assert returns.shape == (1, 2)
    assert seen[0].shape == (1, 2, sum(sizes.values()))


def test_the_ant_s_position_is_asked_for():
    record("robotics/ant-v0", "AntMaze_UMaze-v4", False)
    with pytest.warns(UserWarning, match="2 of the 2 numbers of the achieved goal"):
        load("robotics/ant-v0")
    whole = load("robotics/ant-v0", goals="both")
    assert whole.observation_layout.sizes["achieved_goal"] == 2
