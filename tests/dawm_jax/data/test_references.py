"""Which returns score 0 and 100, and what is said of them."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from stored import buffer, write

from dawm_jax.data.formats.minari import load
from dawm_jax.data.references import (
    D4RL_TASKS,
    EXPERT_RETURNS,
    RANDOM_RETURNS,
    robot_of,
    task_scores,
)

MEASURED = Path(__file__).parents[3] / "experiments" / "results" / "random-returns.json"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def record(name, env, *returns, **metadata):
    """Episodes of three steps with these returns, 5 unless given."""
    states, actions = np.eye(4, 3), np.zeros((3, 2))
    totals = returns or (5.0,)
    buffers = [buffer((states, actions, np.full(3, total / 3.0), False)) for total in totals]
    write(name, buffers, env=env, **metadata)


def test_random_returns_are_those_measured():
    results = json.loads(MEASURED.read_text())
    means = {
        robot_of(name): round(row["return_mean"], 2)
        for name, row in results["environments"].items()
    }
    assert means == RANDOM_RETURNS
    assert results["episodes"] == 200
    assert not results["versions"]["commit"].endswith("dirty")


def test_experts_are_better_than_random_actions():
    assert EXPERT_RETURNS.keys() <= RANDOM_RETURNS.keys()
    assert all(RANDOM_RETURNS[robot] < one.value for robot, one in EXPERT_RETURNS.items())


@pytest.mark.parametrize("quality", ["simple", "medium", "expert"])
def test_minari_s_own_sets_have_published_references(quality):
    record(f"mujoco/hopper/{quality}-v0", "Hopper-v5")
    dataset = load(f"mujoco/hopper/{quality}-v0")
    assert dataset.reference_scores == (RANDOM_RETURNS["hopper"], 4098.17)
    assert "huggingface.co/farama-minari/Hopper-v5-SAC-expert" in dataset.reference_note


def test_an_expert_set_on_the_machine_is_the_reference():
    record("mujoco/ant/medium-v0", "Ant-v5")
    alone = load("mujoco/ant/medium-v0")
    assert alone.reference_scores is None
    assert "no expert reference" in alone.reference_note
    assert "mujoco/ant/expert-v0 on this machine" in alone.reference_note
    record("mujoco/ant/expert-v0", "Ant-v5", 900.0, 1100.0)
    for name in ("medium", "expert"):
        dataset = load(f"mujoco/ant/{name}-v0")
        assert dataset.reference_scores == pytest.approx((RANDOM_RETURNS["ant"], 1000.0))
        assert "mean return of the episodes of mujoco/ant/expert-v0" in dataset.reference_note


def test_an_expert_set_no_better_than_random_actions_is_no_reference():
    record("mujoco/swimmer/expert-v0", "Swimmer-v5", -5.0)
    dataset = load("mujoco/swimmer/expert-v0")
    assert dataset.reference_scores is None
    assert "mean return of mujoco/swimmer/expert-v0 is -5" in dataset.reference_note


def test_an_unknown_robot_has_no_scores_but_a_reason():
    record("mujoco/humanoidstandup/medium-v0", "HumanoidStandup-v5")
    note = load("mujoco/humanoidstandup/medium-v0").reference_note
    assert note == "No scores: no random return is known of humanoidstandup."


def test_metadata_come_first():
    record("mujoco/hopper/medium-v0", "Hopper-v5", ref_min_score=1.0, ref_max_score=2.0)
    dataset = load("mujoco/hopper/medium-v0")
    assert (dataset.reference_scores, dataset.reference_note) == ((1.0, 2.0), None)


def test_sets_of_one_robot_are_joined_with_one_note():
    record("mujoco/hopper/medium-v0", "Hopper-v5")
    record("mujoco/hopper/expert-v0", "Hopper-v5")
    dataset = load("mujoco/hopper/medium-v0+mujoco/hopper/expert-v0")
    assert dataset.reference_scores == (RANDOM_RETURNS["hopper"], 4098.17)
    assert dataset.reference_note.count("4098.17") == 1


def specification(name, steps, **kwargs):
    nowhere = "no_such_package:Robot"
    return EnvSpec(name, entry_point=nowhere, max_episode_steps=steps, kwargs=kwargs)


def describe(name, spec, **metadata):
    """A data set whose environment need not be installed."""
    record(name, None, env_spec=spec.to_json(), **metadata)
    return load(name)


@pytest.mark.parametrize("task", ["door", "hammer", "relocate"])
def test_hands_have_d4rl_s_references(task):
    spec = specification(f"AdroitHand{task.title()}-v1", 200)
    assert describe(f"D4RL/{task}/human-v2", spec).reference_scores == D4RL_TASKS[task]


def test_kitchen_scores_are_of_four_tasks():
    spec = specification("FrankaKitchen-v1", 280)
    assert describe("D4RL/kitchen/mixed-v2", spec).reference_scores == (0.0, 4.0)


def test_the_longer_pen_has_no_score_by_the_shorter_one_s_references():
    """Pitfall: Minari's pen has 200 steps, D4RL's 100 (Minari issue 303)."""
    longer = specification("AdroitHandPen-v1", 200)
    low, high = D4RL_TASKS["pen"]
    assert describe("D4RL/pen/human-v2", longer).reference_scores is None
    dataset = describe("D4RL/pen/cloned-v2", longer, ref_min_score=low, ref_max_score=high)
    assert dataset.reference_scores == D4RL_TASKS["pen"]
    assert "D4RL's pen, with 100 steps an episode; here it has 200" in dataset.reference_note
    shorter = describe("D4RL/pen/expert-v2", specification("AdroitHandPen-v1", 100))
    assert (shorter.reference_scores, shorter.reference_note) == (D4RL_TASKS["pen"], None)


def test_a_maze_that_goes_on_at_the_goal_has_no_score_by_d4rl():
    """Pitfall: that is the default, which a specification need not name."""
    for number, kwargs in enumerate([{}, {"continuing_task": True}]):
        endless = specification("AntMaze_UMaze-v4", 700, **kwargs)
        dataset = describe(f"D4RL/antmaze/umaze-v{number}", endless)
        assert dataset.reference_scores is None
        assert "counts the steps there" in dataset.reference_note
    ending = specification("AntMaze_UMaze-v4", 700, continuing_task=False)
    assert describe("D4RL/antmaze/umaze-diverse-v1", ending).reference_scores == (0.0, 1.0)


def test_point_mazes_are_not_scored_by_other_mazes():
    dataset = describe("D4RL/pointmaze/umaze-v2", specification("PointMaze_UMaze-v3", 300))
    assert dataset.reference_scores is None
    assert "other mazes" in dataset.reference_note


def test_a_task_is_found_by_whole_words():
    """Pitfall: antmaze begins like ant."""
    assert task_scores("antmaze-umaze-v0") == (0.0, 1.0)
    assert task_scores("ant-medium-v2") == (-325.6, 3879.7)
    assert task_scores("maze2d-umaze-dense-v1") == (23.85, 161.86)
    assert task_scores("pencil-v0") is None


def test_every_robot_measured_has_an_environment():
    names = [robot_of(name) for name in gymnasium.registry if name.endswith("-v5")]
    assert RANDOM_RETURNS.keys() <= set(names)
