import gzip
import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.errors import UserError
from dawm_jax.evaluation.scores import normalized_score
from experiments import pipeline
from experiments.faults.comparison import without_timings
from experiments.run import context as run
from experiments.stages import train as training


def test_results_keep_the_contract(finished):
    config, workdir, results = finished
    assert json.loads((workdir / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["config"]["dataset"] == results["dataset"]["id"] == config.dataset
    assert {"commit", "jax", "mujoco"} <= results["versions"].keys()
    assert results["dataset"]["transitions"] == 1_600
    assert {"episodes", "score_mean"} <= results["dataset"].keys()
    assert 0 < results["synthesis"]["transitions"] <= 303
    assert results["synthesis"]["transitions_per_second"] > 0
    pairs = [(entry["name"], entry["source"]) for entry in results["learners"]]
    assert pairs == [(n, s) for s in ("real", "dawm") for n in ("bc", "td3bc", "iql")]
    stages = [results[name] for name in ("world_model", "inverse_dynamics", "synthesis")]
    commits = {entry["commit"] for entry in (*stages, *results["learners"])}
    assert commits == {results["versions"]["commit"]}
    for entry in results["learners"]:
        low, high = entry["ci95"]
        scores = [seed["normalized_score"] for seed in entry["seeds"]]
        assert [seed["seed"] for seed in entry["seeds"]] == [0, 1]
        for seed in entry["seeds"]:
            expected = normalized_score(seed["returns"], (-20.272305, 3234.3)).mean()
            assert len(seed["returns"]) == 2
            assert seed["normalized_score"] == pytest.approx(expected)
        assert entry["mean"] == pytest.approx(np.mean(scores))
        assert low <= entry["mean"] <= high
        assert [point["updates"] for point in entry["curve"]] == [10, 20]
        assert entry["updates_per_second"] > 0
        assert entry["commit"] == results["versions"]["commit"]


def test_q_values_of_recorded_and_generated_rows_are_logged(finished):
    _, workdir, _ = finished
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    of_stage = [line for line in lines if line["stage"] == "td3bc-dawm"]
    assert [line["step"] for line in of_stage] == list(range(2, 21, 2))
    assert len({line["fingerprint"] for line in of_stage}) == 1
    assert all(len(line["q_real"]) == len(line["q_synthetic"]) == 2 for line in of_stage)
    assert all(line["q_synthetic"] == [0, 0] for line in lines if line["stage"] == "td3bc-real")


def test_the_folder_holds_pictures_events_and_the_synthetic_data(finished):
    _, workdir, results = finished
    for name in ("learning_curves", "trajectories", "distributions"):
        assert (workdir / f"{name}.png").stat().st_size > 10_000
    assert list((workdir / "tensorboard").iterdir())
    with np.load(workdir / results["synthesis"]["file"], allow_pickle=False) as stored:
        assert len(stored["reward"]) == results["synthesis"]["transitions"]
        assert not stored["real"].any()
        assert set(np.unique(stored["discount"])) <= {0.0, np.float32(0.99)}


def test_a_finished_run_is_found_again(finished, monkeypatch, capsys):
    config, workdir, results = finished

    def no_training(*args, **kwargs):
        raise AssertionError("a finished stage was trained again")

    monkeypatch.setattr(training, "train", no_training)
    again = pipeline.run(config, workdir)
    assert without_timings(again) == without_timings(results)
    assert "td3bc-dawm: found, 20 updates" in capsys.readouterr().out


def test_every_stage_of_a_finished_run_is_traced(finished, tmp_path):
    config, workdir, results = finished
    shutil.copytree(workdir, tmp_path / "run")
    config = config.copy_and_resolve_references()
    config.learners, config.sources = ("bc",), ("dawm",)
    again = pipeline.run(config, tmp_path / "run", profile=True)
    for name in ("world_model", "inverse_dynamics", "synthesis"):
        assert again[name] == results[name]
    of_bc = [(entry["name"], entry["source"]) == ("bc", "dawm") for entry in results["learners"]]
    assert again["learners"] == list(itertools.compress(results["learners"], of_bc))
    folder = tmp_path / "run" / "profile"
    models = {"world_model", "inverse_dynamics", "one_step_model", "fidelity", "synthesis"}
    assert {path.name for path in folder.iterdir()} == models | {"bc-dawm", "bc-dawm-evaluation"}
    for stage in folder.iterdir():
        (path,) = stage.rglob("perfetto_trace.json.gz")
        with gzip.open(path) as file:
            names = {event.get("name", "") for event in json.load(file)["traceEvents"]}
        assert any("PjitFunction" in name for name in names)
        assert not any("backend_compile" in name for name in names)


def test_an_interrupted_run_ends_with_the_same_bits(finished, tmp_path, monkeypatch):
    """Every training stage is broken off after an update that no checkpoint holds."""
    config, _, results = finished
    real_train = training.train

    def breaking(component, state, data, key, **settings):
        for item in real_train(component, state, data, key, **settings):
            yield item
            if settings["start"] == 0 and item[0] == 14:
                raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", breaking)
    again = None
    for _ in range(10):
        try:
            again = pipeline.run(config, tmp_path)
            break
        except KeyboardInterrupt:
            continue
    assert again is not None
    assert without_timings(again) == without_timings(results)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
        if '"td3bc-dawm"' in line
    ]
    assert steps == list(range(2, 21, 2))


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
    config.pool_memory = 1e-6  # about a thirtieth of the pool, and a batch a call
    assert without_timings(pipeline.run(config, tmp_path)) == without_timings(results)
    assert read == [1] * 50  # 20 batches of bc and of iql, 10 of td3bc's two updates


def test_another_learner_setting_leaves_the_models_alone(finished, tmp_path):
    config, _, _ = finished
    components = pipeline.build(config)
    dataset = pipeline.load(config.dataset)

    def stages(config, **changes):
        this = run.Run(config, replace(components, **changes), tmp_path, dataset)
        model = this.stage("world_model", this.components.world_model, this.data_stage)
        learner = this.stage("td3bc", this.components.learners["td3bc"], model)
        return model.fingerprint, learner.fingerprint

    learners = {"td3bc": replace(components.learners["td3bc"], bc_coefficient=1.0)}
    before, after = stages(config), stages(config, learners=learners)
    assert before[0] == after[0]
    assert before[1] != after[1]
    model = replace(components.world_model, learning_rate=1e-4)
    changed = stages(config, world_model=model)
    assert changed[0] != before[0]
    assert changed[1] != before[1]


def load_with(monkeypatch, **changes):
    """Lets the pipeline load data sets with some facts changed."""
    loaded = pipeline.load
    monkeypatch.setattr(
        pipeline, "load", lambda *args, **kwargs: replace(loaded(*args, **kwargs), **changes)
    )


def test_a_data_set_without_an_environment_trains_and_is_not_evaluated(
    config, tmp_path, monkeypatch, capsys
):
    load_with(monkeypatch, environment=None)
    config.learners = ("bc",)
    config.sources = ("real",)
    results = pipeline.run(config, tmp_path)
    (entry,) = results["learners"]
    assert entry["mean"] is entry["ci95"] is None
    assert entry["seeds"][0]["returns"] == []
    printed = capsys.readouterr().out
    assert "names no environment" in printed
    assert "that were not evaluated" in printed


def test_without_reference_scores_returns_are_reported(config, tmp_path, monkeypatch, capsys):
    load_with(monkeypatch, reference_scores=None)
    config.learners = ("bc",)
    config.sources = ("real",)
    results = pipeline.run(config, tmp_path)
    (entry,) = results["learners"]
    assert entry["mean"] is None
    mean = np.mean([seed["returns"] for seed in entry["seeds"]])
    assert f"| bc | real | {mean:.1f} |" in capsys.readouterr().out
    assert (tmp_path / "learning_curves.png").exists()


def test_held_out_episodes_too_short_for_a_window_cost_no_finished_work(
    config, tmp_path, monkeypatch, capsys
):
    def short_episodes_held_out(dataset, fraction, seed):
        short = replace(dataset, lengths=np.array([2]), terminated=np.array([False]))
        return dataset, short

    monkeypatch.setattr(run, "hold_out", short_episodes_held_out)
    config.learners = ("bc",)
    results = pipeline.run(config, tmp_path)
    assert results["synthesis"]["fidelity"] is None
    assert "not measured" in capsys.readouterr().out


def test_several_data_sets_are_one(recorded, config, tmp_path):
    config.dataset = f"{recorded}+{recorded}"
    config.learners = ("bc",)
    config.sources = ("real",)
    config.seeds = 1
    results = pipeline.run(config, tmp_path)
    assert results["dataset"]["transitions"] == 3_200
    low, high = results["learners"][0]["ci95"]
    assert low <= results["learners"][0]["mean"] <= high


def test_what_a_disk_refuses_is_a_message_and_what_is_finished_stays(
    finished, tmp_path, monkeypatch
):
    config, workdir, results = finished
    copied = tmp_path / "run"
    shutil.copytree(workdir, copied)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.report, "write_json", full)
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
    config.sources = ("real",)
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
    with pytest.raises(UserError, match="nothing can be written to"):
        pipeline.run(config, tmp_path / "file")

    def no_device():
        raise UserError("no device")

    monkeypatch.setattr(pipeline, "check_devices", no_device)
    with pytest.raises(UserError, match="no device"):
        pipeline.run(config, tmp_path / "new")


def test_a_data_set_of_shorter_episodes_than_a_window_is_told_before_training(
    config, tmp_path, monkeypatch
):
    load_with(monkeypatch, terminated=np.array([False]), lengths=np.array([2]))
    config.held_out = 0.0
    config.sources = ("dawm",)
    monkeypatch.setattr(training, "train", lambda *args, **kwargs: pytest.fail("trained"))
    with pytest.raises(UserError, match=r"no episode of .* holds a window of 4 states"):
        pipeline.run(config, tmp_path / "new")
