"""Which stages of a run change with a setting, a class or its version, and which are found."""

import shutil
from dataclasses import dataclass, fields

import pytest

from dawm_jax.learners import BC, LEARNERS, TD3BC
from dawm_jax.models.dynamics import OneStepModel
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.termination import TerminationModel
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.sources import SOURCES
from experiments import pipeline
from experiments.fidelity import held_out
from experiments.run.config import build
from experiments.stages import learn, measure, models, source
from experiments.stages.train import Trained
from experiments.store.stage import stages_of

SYNTHETIC = {"synthesis-dawm", "transitions-dawm", "bc-dawm", "td3bc-dawm"}
DAWM_STAGES = SYNTHETIC | {"fidelity-dawm"}
MODELS = {"world_model", "inverse_dynamics", "termination", "one_step_model"}
BC_STAGES = {"bc-recorded", "bc-dawm"}
TD3BC_STAGES = {"td3bc-recorded", "td3bc-dawm"}


@pytest.fixture
def stages(monkeypatch, config, tmp_path):
    """stages() -> the fingerprints of a run's stages by name; nothing is trained or generated."""
    config.sources, config.learners = ("recorded", "dawm"), ("bc", "td3bc")
    found = {}

    def train(run, stage, *args, **settings):
        found[stage.name] = stage.fingerprint
        record = {"commit": None, "metrics": {}, "metrics_updates": 0, "updates_per_second": None}
        return Trained(stage, {}, record)

    def generate(run, stage, *args):
        found[stage.name] = stage.fingerprint
        return None, {}

    def stored(folder, measured):
        found[folder.stage] = folder.path.name
        return {"nearest_recorded": {"synthetic": 1.0, "recorded": 1.0}}

    for component in (WorldModel, InverseDynamics, TerminationModel, OneStepModel, BC, TD3BC):
        monkeypatch.setattr(component, "init", lambda *args: {})
    for module in (models, learn):
        monkeypatch.setattr(module, "train_component", train)
    monkeypatch.setattr(source, "generate", generate)
    monkeypatch.setattr(measure, "_stored", stored)
    monkeypatch.setattr(held_out, "compare", lambda *args: ())
    monkeypatch.setattr(measure, "describe", str)
    monkeypatch.setattr(pipeline, "make_evaluator", lambda *args: None)
    monkeypatch.setattr(pipeline.results, "write", lambda *args: None)

    def stages():
        found.clear()
        pipeline.run(config, tmp_path)
        return dict(found)

    return stages


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_a_run_has_these_stages(stages):
    assert stages().keys() == MODELS | DAWM_STAGES | {"bc-recorded", "td3bc-recorded"}


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("td3bc.bc_coefficient", 1.0, TD3BC_STAGES),
        ("dawm.world_model.learning_rate", 1e-4, DAWM_STAGES | {"world_model"}),
        ("dawm.sampling.temperature", 1.0, DAWM_STAGES),
        ("dawm.target.value", 0.5, DAWM_STAGES),
        ("synthesis.transitions", 200, SYNTHETIC),
        ("synthesis.chunk", 16, set()),
        ("fidelity.windows", 32, {"fidelity-dawm"}),
        ("fidelity.one_step_model.learning_rate", 1e-4, {"fidelity-dawm", "one_step_model"}),
        ("evaluation_episodes", 1, BC_STAGES | TD3BC_STAGES),
        ("pool_memory", 1.0, set()),
        ("max_distance", 1_000.0, set()),
        ("checkpoint_every", 20, set()),
    ],
)
def test_a_setting_changes_its_stages_and_what_follows(stages, config, setting, value, expected):
    before = stages()
    config.update_from_flattened_dict({setting: value})
    assert changed(before, stages()) == expected


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        (WorldModel, DAWM_STAGES | {"world_model"}),
        (InverseDynamics, DAWM_STAGES | {"inverse_dynamics"}),
        (OneStepModel, {"fidelity-dawm", "one_step_model"}),
        (SOURCES["dawm"], DAWM_STAGES),
        (BC, BC_STAGES),
    ],
)
def test_a_version_changes_its_stages_and_what_follows(stages, monkeypatch, component, expected):
    before = stages()
    monkeypatch.setattr(component, "version", component.version + 1)
    assert changed(before, stages()) == expected


@pytest.mark.parametrize("registry", [SOURCES, LEARNERS])
def test_every_registered_component_declares_a_version(registry):
    for make in registry.values():
        component = make()
        parts = [getattr(component, field.name) for field in fields(component)]
        trained = component.models().values() if registry is SOURCES else []
        assert all(isinstance(one.version, int) for one in (component, *trained))
        assert all(one in parts for one in trained)


def test_a_class_with_equal_fields_does_not_find_the_stages_of_another(stages, config, monkeypatch):
    @dataclass(frozen=True)
    class Twin(BC):
        """As BC, but another class."""

    Twin.__qualname__ = BC.__qualname__
    before = stages()
    expected = build(config).learners["bc"]
    monkeypatch.setitem(LEARNERS, "bc", Twin)
    twin = build(config).learners["bc"]
    assert {f.name: getattr(twin, f.name) for f in fields(twin)} == {
        f.name: getattr(expected, f.name) for f in fields(expected)
    }
    assert changed(before, stages()) == BC_STAGES


@pytest.mark.slow
def test_a_new_version_of_the_world_model_is_trained_again_and_no_more_than_must_be(
    finished, tmp_path, monkeypatch, capsys
):
    config, workdir, results = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    config = config.copy_and_resolve_references()
    config.sources, config.learners = ("recorded", "dawm"), ("bc", "td3bc")
    monkeypatch.setattr(WorldModel, "version", WorldModel.version + 1)
    before = set(stages_of(tmp_path))
    again = pipeline.run(config, tmp_path)
    printed = capsys.readouterr().out.splitlines()
    remade = DAWM_STAGES | {"world_model"}
    assert sorted(one.stage for one in set(stages_of(tmp_path)) - before) == sorted(remade)
    measured = {"fidelity-dawm", "transitions-dawm"}  # which say nothing
    begun = {line.split(": ")[0] for line in printed if line.endswith(" to do")}
    assert begun == remade - measured
    found = {line.split(": ")[0] for line in printed if ": found" in line}
    assert found == MODELS - {"world_model"} | {"bc-recorded", "td3bc-recorded"}
    # The code is the same, and with it the results.
    dawm = results["sources"]["dawm"]
    assert again["sources"]["dawm"]["fidelity"] == dawm["fidelity"]
    assert again["sources"]["dawm"]["synthesis"]["file"] != dawm["synthesis"]["file"]
