"""A finished run read back: its policies exported, and evaluated again."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from dawm_jax.errors import UserError
from dawm_jax.export.reading import read_policy
from experiments.reporting.evaluation import evaluate, table
from experiments.run import policy_files
from experiments.run.evaluation import of_exported, of_finished
from experiments.run.finished import FinishedRun
from experiments.run.policy_files import export_policy
from experiments.store import files
from experiments.store.stage import stages_of


@pytest.fixture(scope="module")
def run(finished):
    return FinishedRun.read(finished[1])


@pytest.fixture
def copied(finished, tmp_path):
    """The run's results and its learners' stages, to be hurt."""
    workdir = tmp_path / "run"
    for stage in finished[1].glob("stages/*bc-recorded-*"):
        shutil.copytree(stage, workdir / "stages" / stage.name)
    shutil.copy(finished[1] / "results.json", workdir)
    return workdir


def entry_of(results, learner, source):
    (entry,) = (e for e in results["learners"] if (e["name"], e["source"]) == (learner, source))
    return entry


def contents(folder):
    """Every file with the time of its last change."""
    return {path: os.stat(path).st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(("learner", "source"), [("bc", "dawm"), ("td3bc", "recorded")])
def test_as_many_episodes_repeat_the_results_of_the_run(finished, run, learner, source):
    before = contents(finished[1])
    evaluation = evaluate(of_finished(run, learner, source), episodes=2)
    wanted = entry_of(finished[2], learner, source)["policies"]["averaged"]
    (found,) = evaluation["policies"]
    for seed, same in zip(found["seeds"], wanted["seeds"], strict=True):
        assert (seed["seed"], seed["returns"]) == (same["seed"], same["returns"])
        assert seed["normalized_score"] == pytest.approx(same["normalized_score"])
    assert (found["mean"], found["ci95"]) == (pytest.approx(wanted["mean"]), None)
    assert (found["name"], found["source"], found["policy"]) == (learner, source, "averaged")
    assert evaluation["dataset"]["environment"] == "Hopper-v5"
    assert evaluation["dataset"]["reference_scores"] == (-20.272305, 3234.3)
    assert contents(finished[1]) == before


def test_more_episodes_begin_with_those_of_the_run(finished, run, monkeypatch):
    monkeypatch.setattr("experiments.run.policies.AT_ONCE", 3)  # blocks of 3, 3 and 1
    evaluation = evaluate(of_finished(run, "bc", "recorded", seed=1), episodes=7)
    wanted = entry_of(finished[2], "bc", "recorded")["policies"]["averaged"]["seeds"][1]
    (found,) = evaluation["policies"]
    (seed,) = found["seeds"]
    assert seed["seed"] == 1
    assert seed["returns"][:2] == pytest.approx(wanted["returns"], rel=1e-3)
    assert len(set(seed["returns"])) == 7
    assert found["interval_over"] == "episodes"
    low, high = found["return_ci95"]
    assert low < np.mean(seed["returns"]) < high
    shown = table(evaluation)
    assert "seed 1, 7 episodes each" in shown
    assert f"| bc | recorded | {found['return_mean']:.1f} | {low:.1f} to {high:.1f} |" in shown


def test_every_policy_of_a_run_has_a_row(finished, run):
    shown = table(evaluate(of_finished(run, source="recorded"), episodes=1))
    assert [row.split(" |")[0] for row in shown.splitlines() if row.startswith("| ")][2:] == [
        "| bc",
        "| td3bc",
    ]
    assert "An interval takes at least 5 seeds" in shown
    assert "not comparable with D4RL's v2" in shown


@pytest.mark.parametrize("policy", ["averaged", "last"])
def test_an_exported_policy_scores_as_in_the_run(finished, run, policy, tmp_path):
    out = tmp_path / "new" / "policy"
    paths = export_policy(run, "td3bc", "dawm", 1, policy, out, overwrite=False)
    assert [path.name for path in paths] == ["policy.safetensors", "policy.jax"]
    assert all(files.damage(path) is None for path in paths)
    assert len(list(out.iterdir())) == 4
    wanted = entry_of(finished[2], "td3bc", "dawm")["policies"][policy]["seeds"][1]
    for path, environment in zip(paths, (None, "Hopper-v5"), strict=True):
        evaluation = evaluate(of_exported(path, environment), episodes=2)
        if path.suffix == ".safetensors":
            (seed,) = evaluation["policies"][0]["seeds"]
            assert seed["seed"] == 1
            assert seed["returns"] == pytest.approx(wanted["returns"], rel=1e-2)
    facts = read_policy(paths[0]).facts
    assert (facts["learner"], facts["source"], facts["seed"]) == ("td3bc", "dawm", "1")
    assert (facts["policy"], facts["commit"]) == (policy, finished[2]["versions"]["commit"])
    assert json.loads(facts["score"]) == wanted["normalized_score"]
    assert json.loads(facts["return"]) == pytest.approx(np.mean(wanted["returns"]))
    page = (Path(__file__).parents[3] / "docs" / "policies.md").read_text()
    assert not [field for field in facts if f"`{field}`" not in page]


def test_only_one_policy_is_exported_and_nothing_replaced_unasked(run, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"several such policies \(bc on recorded, .*--learner"):
        export_policy(run, None, None, None, "averaged", tmp_path / "p", overwrite=False)
    with pytest.raises(UserError, match="no seed 2: its seeds are 0 to 1"):
        export_policy(run, "bc", "dawm", 2, "averaged", tmp_path / "p", overwrite=False)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists; replace its policy with --overwrite"):
        export_policy(run, "bc", "dawm", None, "averaged", tmp_path / "p", overwrite=False)
    export_policy(run, "bc", "dawm", None, "averaged", tmp_path / "p", overwrite=True)
    assert (tmp_path / "p" / "notes.txt").read_text() == "mine"
    before = contents(tmp_path)

    def failing(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy_files.files, "seal", failing)
    with pytest.raises(UserError, match="the disk is full"):
        export_policy(run, "bc", "dawm", None, "averaged", tmp_path / "p", overwrite=True)
    assert contents(tmp_path) == before


def test_a_policy_whose_observations_need_float64_is_written_as_arrays_alone(
    copied, tmp_path, capsys
):
    run = FinishedRun.read(copied)
    run.__dict__["dataset"] = replace(run.dataset, observation_origin=np.full(11, 1e6))
    (path,) = export_policy(run, "bc", "recorded", 0, "last", tmp_path / "p", overwrite=False)
    assert path.name == "policy.safetensors"
    assert "policy.jax is not written: float32" in capsys.readouterr().out


def test_a_damaged_exported_policy_is_refused(run, tmp_path):
    path, _ = export_policy(run, "bc", "dawm", 0, "last", tmp_path / "p", overwrite=False)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"'policy.safetensors' differs from its checksum"):
        of_exported(path)


def test_an_environment_must_fit(run, tmp_path):
    with pytest.raises(UserError, match=r"in Walker2d-v5 have 17 numbers, .* with --env"):
        of_finished(run, environment="Walker2d-v5")
    with pytest.raises(UserError, match="there is no environment 'Hoper-v5'"):
        of_finished(run, environment="Hoper-v5")
    assert of_finished(run, "bc", environment="Hopper-v4").reference == (-20.272305, 3234.3)
    path, program = export_policy(run, "bc", "dawm", 0, "last", tmp_path / "p", overwrite=False)
    with pytest.raises(UserError, match=r"in Ant-v5 have 105 numbers, those of policy.jax 11"):
        of_exported(program, "Ant-v5")
    with pytest.raises(UserError, match="names no environment: add --env"):
        of_exported(program)
    assert of_exported(path).spec.id == "Hopper-v5"


def test_actions_beyond_the_bounds_of_an_environment_are_refused(copied, tmp_path):
    run = FinishedRun.read(copied)
    run.__dict__["dataset"] = replace(run.dataset, action_high=np.full(3, 2.0, np.float32))
    path, _ = export_policy(run, "bc", "recorded", 0, "last", tmp_path / "p", overwrite=False)
    with pytest.raises(UserError, match=r"go beyond the bounds of Hopper-v5: high \[2.0, 2.0"):
        of_exported(path)


def test_what_a_run_lacks_is_listed(run):
    with pytest.raises(UserError, match=r"unknown learner of the run 'td3cb'.*bc, td3bc\. Did"):
        of_finished(run, learner="td3cb")
    with pytest.raises(UserError, match=r"unknown source of the run 'x': .* dawm, one_step"):
        of_finished(run, source="x")
    with pytest.raises(UserError, match="the run has no seed -1: its seeds are 0 to 1"):
        of_finished(run, seed=-1)


def test_a_folder_without_a_finished_run_is_named(copied):
    with pytest.raises(UserError, match=r"holds no finished run: it has no results\.json"):
        FinishedRun.read(copied / "missing")
    path = copied / "results.json"
    results = json.loads(path.read_text())
    path.write_text(path.read_text()[:-100])
    with pytest.raises(UserError, match=r"is damaged .*run experiments.main again"):
        FinishedRun.read(copied)
    for entry in results["learners"]:
        del entry["stage"]
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match="does not name the stages of its learners"):
        FinishedRun.read(copied)


def test_damaged_and_missing_states_are_reported_and_kept(copied):
    bc, td3bc = (stage for stage in stages_of(copied))
    (data, *_) = sorted(
        (p for p in (bc.checkpoints / "20").rglob("d/*") if p.is_file()),
        key=lambda p: -p.stat().st_size,
    )
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    before = contents(copied)
    run = FinishedRun.read(copied)
    with pytest.raises(UserError, match=r"bc-recorded: .* differs from its checksum"):
        of_finished(run, "bc", "recorded")
    assert contents(copied) == before
    shutil.rmtree(td3bc.path)
    with pytest.raises(UserError, match="td3bc-recorded has no trained state"):
        of_finished(run, "td3bc", "recorded")


def test_a_run_of_other_code_or_other_data_is_refused(copied):
    run = FinishedRun.read(copied)
    with run.config.unlocked():
        run.config.bc.hidden = (16,)
    with pytest.raises(UserError, match="holds no state of today's bc"):
        of_finished(run, "bc", "recorded")
    path = copied / "results.json"
    results = json.loads(path.read_text())
    results["dataset"]["transitions"] = 5
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"has 1600 transitions, the run in .* trained on 5"):
        of_finished(FinishedRun.read(copied))


def test_states_are_read_as_they_were_trained(finished, run):
    states = run.states(entry_of(finished[2], "bc", "dawm"))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(states)} == {2}
