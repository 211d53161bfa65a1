"""The arms into which the effect of a source is taken apart, of a tiny run."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from dawm_jax.data.formats.minari import load
from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import UserError
from experiments import attribution, pipeline
from experiments.reporting import scores
from experiments.stages.simulated import whole_simulator, with_true_outcomes
from experiments.stages.source import recorded_starts


@pytest.fixture(scope="module")
def results(finished, tmp_path_factory):
    config, workdir, _ = finished
    folder = tmp_path_factory.mktemp("attribution")
    shutil.copytree(workdir, folder / "run")
    config = config.copy_and_resolve_references()
    attribution.attribute(config, folder / "run", "dawm")
    return json.loads((folder / "run" / "attribution.json").read_text())


def arms_of(results, learner):
    return {e["arm"]: e["policies"] for e in results["arms"] if e["name"] == learner}


def test_every_learner_is_trained_in_every_arm_that_it_has(results):
    with_critics = [arm.name for arm in attribution.ARMS if "advantage_rows" not in arm.changes]
    assert list(arms_of(results, "td3bc")) == with_critics
    without_critics = [arm.name for arm in attribution.ARMS if "critic_rows" not in arm.changes]
    assert list(arms_of(results, "bc")) == without_critics


def test_two_arms_are_those_of_the_run_itself(results, finished):
    arms = arms_of(results, "td3bc")
    of_run = {e["source"]: e["policies"] for e in finished[2]["learners"] if e["name"] == "td3bc"}
    assert arms["+ synthetic, for the policy alone"] == of_run["dawm"]
    assert arms["recorded"] == of_run["recorded"]


def test_every_arm_differs(results):
    for learner in ("bc", "td3bc"):
        arms = [json.dumps(policies) for policies in arms_of(results, learner).values()]
        assert len(set(arms)) >= len(arms) - (learner == "bc")  # outcomes do not matter to cloning


def test_recorded_starts_are_those_of_the_rollouts(finished):
    config, workdir, _ = finished
    run = pipeline.prepare(config, workdir)
    source = replace(run.components.sources["dawm"], start_preference=5.0)
    found = recorded_starts(run, "dawm", source).synthetic
    rows = source.inputs(run.dataset).rows
    episodes = run.dataset.episodes
    np.testing.assert_array_equal(found.observation, episodes.observation[rows])
    np.testing.assert_array_equal(found.next_observation, episodes.observation[rows + 1])
    np.testing.assert_array_equal(found.reward, episodes.reward[rows])
    assert not found.recorded.any()
    assert 0 < (found.discount == 0.0).sum() < len(rows)
    assert len(np.unique(rows)) < len(rows)  # favored ones are there more than once


def test_the_table_has_a_row_for_each_arm(results):
    lines = scores.attribution(results).splitlines()
    rows = [line for line in lines if line.startswith(("| bc |", "| td3bc |"))]
    assert len(rows) == len(results["arms"])
    assert len({row.count("|") for row in rows}) == 1
    assert "2 seeds are too few for an interval" in lines[2]


def test_outcomes_are_those_of_the_simulator(recorded):
    """Recorded transitions with wrong outcomes get their own outcomes back."""
    dataset = load(recorded)
    true = jax.tree.map(lambda leaf: np.asarray(leaf[:300]), to_transitions(dataset))
    wrong = true.replace(
        reward=true.reward + 1.0,
        next_observation=true.next_observation + 0.1,
        discount=np.where(true.discount == 0.0, np.float32(dataset.discount), 0.0),
    )
    simulator = whole_simulator(dataset)
    found = with_true_outcomes(simulator, wrong)
    known = simulator.settable(true.observation)
    assert 0.9 < known.mean() <= 1.0
    assert (true.discount[known] == 0.0).any()
    for name in ("reward", "next_observation", "discount"):
        values, expected = getattr(found, name), getattr(true, name)
        assert values.dtype == expected.dtype
        np.testing.assert_allclose(values[known], expected[known], atol=2e-3)
        np.testing.assert_array_equal(values[~known], getattr(wrong, name)[~known])
    assert not found.next_action_mask[known].any()
    np.testing.assert_array_equal(found.action, true.action)


def test_an_environment_without_a_simulator_is_refused_before_any_training(
    config, tmp_path, monkeypatch
):
    monkeypatch.setattr("experiments.stages.simulated.make_simulator", lambda _: None)
    with pytest.raises(UserError, match="cannot be set to its observations: use a MuJoCo"):
        attribution.attribute(config, tmp_path, "dawm")
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "versions.json"}


def test_sums_of_rewards_are_refused_before_any_training(config, tmp_path):
    config.dawm.return_lambda = 0.95
    with pytest.raises(UserError, match="transitions of 'dawm' sum several rewards, and the sim"):
        attribution.attribute(config, tmp_path, "dawm")
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "versions.json"}
