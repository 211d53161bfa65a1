import gzip
import json
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest

from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.errors import UserError
from dawm_jax.evaluation.scores import normalized_score
from dawm_jax.sources import SOURCES, RolloutSource
from dawm_jax.types import Transition
from experiments import pipeline
from experiments.faults.comparison import without_timings
from experiments.run import context
from experiments.run.config import build
from experiments.stages import train as training


def of_dawm(results):
    """The part of the results that a run of DAWM alone has, too."""
    learners = [entry for entry in results["learners"] if entry["source"] == "dawm"]
    return {**results, "sources": {"dawm": results["sources"]["dawm"]}, "learners": learners}


def test_results_keep_the_contract(finished):
    config, workdir, results = finished
    assert json.loads((workdir / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["config"]["dataset"] == results["dataset"]["id"] == config.dataset
    assert {"commit", "jax", "mujoco"} <= results["versions"].keys()
    assert results["dataset"]["transitions"] == 1_600
    assert {"episodes", "score_mean"} <= results["dataset"].keys()
    assert list(results["sources"]) == list(SOURCES)
    pairs = [(entry["name"], entry["source"]) for entry in results["learners"]]
    assert pairs == [(n, s) for s in SOURCES for n in ("bc", "td3bc")]
    assert {entry["commit"] for entry in results["learners"]} == {results["versions"]["commit"]}
    for entry in results["learners"]:
        assert list(entry["policies"]) == ["averaged", "last"]
        for policy in entry["policies"].values():
            scores = [seed["normalized_score"] for seed in policy["seeds"]]
            assert [seed["seed"] for seed in policy["seeds"]] == [0, 1]
            for seed in policy["seeds"]:
                expected = normalized_score(seed["returns"], (-20.272305, 3234.3)).mean()
                assert len(seed["returns"]) == 2
                assert seed["normalized_score"] == pytest.approx(expected)
            assert policy["mean"] == pytest.approx(np.mean(scores))
            assert policy["ci95"] is None  # of two seeds
            assert [point["updates"] for point in policy["curve"]] == [10, 20]
            assert policy["curve"][-1]["scores"] == scores
        averaged, last = entry["policies"].values()
        assert averaged != last
        assert entry["updates_per_second"] > 0
        assert entry["commit"] == results["versions"]["commit"]
        assert entry["metrics_updates"] == config.log_every


@pytest.mark.parametrize("name", SOURCES)
def test_the_results_of_every_source_have_the_same_fields(finished, name):
    config, _, results = finished
    source, found = build(config).sources[name], results["sources"][name]
    assert found.keys() == {"models", "synthesis", "fidelity", "left_out"}
    assert found["left_out"] is None  # without a limit
    assert list(found["models"]) == list(source.models())
    for model in found["models"].values():
        assert model["parameters"] > 0
        assert model["updates_per_second"] > 0
        assert np.isfinite(model["loss"])
    if source.units(config.synthesis.transitions) == 0:
        assert found["synthesis"] is found["fidelity"] is None
        return
    synthesis, fidelity = found["synthesis"], found["fidelity"]
    assert 0 < synthesis["transitions"] <= config.synthesis.transitions + source.steps
    assert synthesis["transitions_per_second"] > 0
    assert fidelity.keys() == {"rollouts", "transitions"}
    assert (fidelity["rollouts"] is not None) == isinstance(source, RolloutSource)
    assert 0.0 <= fidelity["transitions"]["actions_at_bounds"] <= 1.0
    judged = fidelity["transitions"]["simulator"]
    assert min(found["fidelity"]["transitions"]["nearest_recorded"].values()) > 0.0
    assert judged.keys() == {"judged", "changes", "rewards", "reward_bias", "terminals"}
    assert 0 <= judged["judged"] <= config.fidelity.transitions
    commits = {entry["commit"] for entry in (*found["models"].values(), synthesis)}
    assert commits == {results["versions"]["commit"]}


def test_no_learner_trains_on_a_source_far_from_the_recorded_data(finished, tmp_path, capsys):
    config, workdir, before = finished
    nearest = before["sources"]["dawm"]["fidelity"]["transitions"]["nearest_recorded"]
    distance = nearest["synthetic"] / nearest["recorded"]
    folder = shutil.copytree(workdir, tmp_path / "run")
    config = config.copy_and_resolve_references()
    config.sources = ("recorded", "dawm")

    def of_run(limit):
        config.max_distance = limit
        return pipeline.run(config, folder)

    near, far = of_run(1.01 * distance), of_run(0.99 * distance)
    assert near["sources"]["dawm"]["left_out"] is None
    assert [entry["source"] for entry in near["learners"]] == ["recorded"] * 2 + ["dawm"] * 2
    left_out = far["sources"]["dawm"]["left_out"]
    assert f"to the recorded ones is {nearest['synthetic']:.2f}, that of" in left_out
    assert capsys.readouterr().out.count(left_out) == 2  # when it is found, and under the scores
    assert far["learners"] == near["learners"][:2]
    of_dawm = {**far["sources"]["dawm"], "left_out": None}
    assert of_dawm == near["sources"]["dawm"]
    config.sources = ("dawm",)
    with pytest.raises(UserError, match=r"no source of dawm is left.*raise --config.max_distance"):
        of_run(0.99 * distance)


def test_q_values_of_recorded_and_synthetic_rows_are_logged(finished):
    _, workdir, _ = finished
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    of_stage = [line for line in lines if line["stage"] == "td3bc-dawm"]
    assert [line["step"] for line in of_stage] == list(range(2, 21, 2))
    assert len({line["fingerprint"] for line in of_stage}) == 1
    assert all(len(line["q_recorded"]) == len(line["q_synthetic"]) == 2 for line in of_stage)
    assert all(line["q_synthetic"] == [0, 0] for line in lines if line["stage"] == "td3bc-recorded")


def test_the_folder_holds_pictures_events_and_the_synthetic_data(finished):
    config, workdir, results = finished
    pictures = {"learning_curves"}
    for name, source in build(config).sources.items():
        if isinstance(source, RolloutSource):
            pictures |= {f"{kind}-{name}" for kind in ("trajectories", "distributions", "fidelity")}
    assert {path.stem for path in workdir.glob("*.png")} == pictures
    assert all(path.stat().st_size > 10_000 for path in workdir.glob("*.png"))
    assert list((workdir / "tensorboard").iterdir())
    synthesized = [s["synthesis"] for s in results["sources"].values() if s["synthesis"]]
    assert len({synthesis["file"] for synthesis in synthesized}) == len(synthesized) > 0
    for synthesis in synthesized:
        with np.load(workdir / synthesis["file"], allow_pickle=False) as stored:
            assert set(stored) == {field.name for field in fields(Transition)}
            assert len(stored["reward"]) == synthesis["transitions"]
            assert not stored["recorded"].any()
            assert set(np.unique(stored["discount"])) <= {0.0, np.float32(0.99)}


def test_a_finished_run_is_reused(finished, monkeypatch, capsys):
    config, workdir, results = finished

    def no_training(*args, **kwargs):
        raise AssertionError("a finished stage was trained again")

    monkeypatch.setattr(training, "train", no_training)
    again = pipeline.run(config, workdir)
    assert without_timings(again) == without_timings(results)
    assert "td3bc-dawm: found, 20 updates" in capsys.readouterr().out


@pytest.mark.slow
def test_the_metrics_of_a_finished_stage_say_how_many_updates_they_cover(finished, tmp_path):
    config, workdir, _ = finished
    shutil.copytree(workdir, tmp_path / "run")
    config = config.copy_and_resolve_references()
    config.log_every = 10
    again = pipeline.run(config, tmp_path / "run")
    entries = [*again["learners"], *again["sources"]["dawm"]["models"].values()]
    assert {entry["metrics_updates"] for entry in entries} == {2}


@pytest.mark.slow
def test_every_stage_of_a_finished_run_is_traced(finished, tmp_path):
    config, workdir, results = finished
    shutil.copytree(workdir, tmp_path / "run")
    config = config.copy_and_resolve_references()
    config.learners, config.sources = ("bc",), ("dawm",)
    again = pipeline.run(config, tmp_path / "run", profile=True)
    assert again["sources"] == {"dawm": results["sources"]["dawm"]}
    assert again["learners"] == [e for e in of_dawm(results)["learners"] if e["name"] == "bc"]
    folder = tmp_path / "run" / "profile"
    stages = {"world_model", "inverse_dynamics", "termination", "one_step_model"}
    stages |= {"fidelity-dawm"}
    stages |= {"synthesis-dawm", "bc-dawm", "bc-dawm-evaluation"}
    assert {path.name for path in folder.iterdir()} == stages
    for stage in folder.iterdir():
        (path,) = stage.rglob("perfetto_trace.json.gz")
        with gzip.open(path) as file:
            names = {event.get("name", "") for event in json.load(file)["traceEvents"]}
        assert any("PjitFunction" in name for name in names)
        assert not any("backend_compile" in name for name in names)


def test_an_interrupted_run_ends_with_the_same_bits(finished, tmp_path, monkeypatch):
    """Every training stage is interrupted after an update that no checkpoint holds."""
    config, _, results = finished
    config = config.copy_and_resolve_references()
    config.sources = ("dawm",)
    real_train = training.train

    def breaking(component, state, data, key, **settings):
        for item in real_train(component, state, data, key, **settings):
            yield item
            if settings["start"] == 0 and item[0] == 14:
                raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", breaking)
    for _ in range(5):  # three models and two learners
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(config, tmp_path)
    again = pipeline.run(config, tmp_path)
    assert without_timings(again) == without_timings(of_dawm(results))
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
        if '"td3bc-dawm"' in line
    ]
    assert steps == list(range(2, 21, 2))


@pytest.mark.slow
def test_learners_on_a_pool_that_stays_on_disk_end_with_the_same_bits(
    finished, tmp_path, monkeypatch
):
    config, workdir, results = finished
    read, rows = [], StoredTransitions.rows
    monkeypatch.setattr(
        StoredTransitions, "rows", lambda self, index: read.append(len(index)) or rows(self, index)
    )
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    for stage in (tmp_path / "stages").glob("*-dawm-*"):
        shutil.rmtree(stage)
    config = config.copy_and_resolve_references()
    config.sources = ("dawm",)
    config.pool_memory = 1e-6  # about a thirtieth of the pool, and a batch a call
    again = pipeline.run(config, tmp_path)
    assert without_timings(again) == without_timings(of_dawm(results))
    assert read == [32] + [1] * 30  # to judge; 20 batches of bc, 10 of td3bc's two updates


def load_with(monkeypatch, **changes):
    """Lets the pipeline load data sets with some facts changed."""
    loaded = pipeline.load
    monkeypatch.setattr(
        pipeline, "load", lambda *args, **kwargs: replace(loaded(*args, **kwargs), **changes)
    )


def test_a_data_set_without_an_environment_trains_and_is_not_evaluated(
    config, tmp_path, monkeypatch, capsys
):
    load_with(monkeypatch, environment=None, evaluation_environment=None)
    config.learners = ("bc",)
    config.sources = ("recorded",)
    results = pipeline.run(config, tmp_path)
    (entry,) = results["learners"]
    for policy in entry["policies"].values():
        assert policy["mean"] is policy["ci95"] is None
        assert policy["seeds"][0]["returns"] == []
    printed = capsys.readouterr().out
    assert "names no environment" in printed
    assert "that were not evaluated" in printed


def test_without_reference_scores_returns_are_reported(config, tmp_path, monkeypatch, capsys):
    load_with(monkeypatch, reference_scores=None)
    config.learners = ("bc",)
    config.sources = ("recorded",)
    results = pipeline.run(config, tmp_path)
    (entry,) = results["learners"]
    averaged = entry["policies"]["averaged"]
    assert averaged["mean"] is None
    mean = np.mean([seed["returns"] for seed in averaged["seeds"]])
    assert f"| bc | recorded | {mean:.1f} |" in capsys.readouterr().out
    assert (tmp_path / "learning_curves.png").exists()


@pytest.mark.slow
def test_held_out_episodes_too_short_for_a_window_cost_no_finished_work(
    config, tmp_path, monkeypatch, capsys
):
    def short_episodes_held_out(dataset, fraction, seed):
        short = replace(dataset, lengths=np.array([2]), terminated=np.array([False]))
        return dataset, short

    monkeypatch.setattr(context, "hold_out", short_episodes_held_out)
    config.learners = ("bc",)
    results = pipeline.run(config, tmp_path)
    dawm = results["sources"]["dawm"]
    assert dawm["fidelity"]["rollouts"] is None
    assert dawm["fidelity"]["transitions"]["simulator"]["judged"] >= 0
    assert dawm["synthesis"]["transitions"] > 0
    assert not list(tmp_path.glob("*-dawm.png"))
    assert "dawm is not measured: no held-out episode" in capsys.readouterr().out


def test_several_data_sets_are_one(recorded, config, tmp_path):
    config.dataset = f"{recorded}+{recorded}"
    config.learners = ("bc",)
    config.sources = ("recorded",)
    config.seeds = 1
    results = pipeline.run(config, tmp_path)
    assert results["dataset"]["transitions"] == 3_200
    assert np.isfinite(results["learners"][0]["policies"]["averaged"]["mean"])


@pytest.mark.slow
def test_what_a_disk_refuses_is_a_message_and_what_is_finished_stays(
    finished, tmp_path, monkeypatch
):
    config, workdir, results = finished
    copied = tmp_path / "run"
    shutil.copytree(workdir, copied)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.results, "write_json", full)
        with pytest.raises(UserError, match="the disk is full"):
            pipeline.run(config, copied)
    monkeypatch.setattr(training, "train", lambda *args, **kwargs: iter(()))
    assert without_timings(pipeline.run(config, copied)) == without_timings(results)


def test_environments_are_closed_even_after_an_error(config, tmp_path, monkeypatch):
    made = []

    def failing(this, *args):
        made.append(args[-1])
        raise UserError("failed")

    monkeypatch.setattr(pipeline, "train_learner", failing)
    closed = []
    monkeypatch.setattr(
        "experiments.simulation.evaluator.Evaluator.close", lambda this: closed.append(this)
    )
    config.sources = ("recorded",)
    with pytest.raises(UserError, match="failed"):
        pipeline.run(config, tmp_path)
    assert closed == made


def test_errors_come_before_any_work(config, tmp_path):
    config.sources = ("dwam",)
    with pytest.raises(UserError, match=r"unknown source 'dwam'.*Did you mean 'dawm'"):
        pipeline.run(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_machine_is_checked_before_data_are_recorded(config, tmp_path, monkeypatch):
    def record(*args):
        raise AssertionError("recorded, or loaded, before the checks")

    monkeypatch.setattr(pipeline, "collect_missing", record)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to"):
        pipeline.run(config, tmp_path / "file")

    def no_device():
        raise UserError("no device")

    monkeypatch.setattr(pipeline, "check_devices", no_device)
    with pytest.raises(UserError, match="no device"):
        pipeline.run(config, tmp_path / "new")


def test_episodes_shorter_than_a_window_are_reported_before_training(config, tmp_path, monkeypatch):
    load_with(monkeypatch, terminated=np.array([False]), lengths=np.array([2]))
    config.held_out = 0.0
    config.sources = ("dawm",)
    monkeypatch.setattr(training, "train", lambda *args, **kwargs: pytest.fail("trained"))
    with pytest.raises(UserError, match=r"no episode of .* contains a window of 4 states"):
        pipeline.run(config, tmp_path / "new")
