import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from dawm_jax.errors import UserError
from experiments.benchmark import campaign
from experiments.benchmark.cases import Group
from experiments.benchmark.scope import ACCELERATOR, CPU
from experiments.benchmark.suites import SUITES
from experiments.configs import quickstart
from experiments.run.config import build
from experiments.system.signals import Interrupted


def build_options(suites, sizes=(), **changes):
    choices = {"peers": None, "budget": 600.0, "rounds": 1, "smoke": True, **changes}
    return campaign.build_options(suites, sizes, **choices)


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        ({}, "2-cpu-cores-2026-11-26.json"),
        ({"suites": ["world_model"]}, "2-cpu-cores-world_model-2026-11-26.json"),
        ({"sizes": ["paper"], "only": "td3bc: 4"}, "2-cpu-cores-paper-td3bc-4-2026-11-26.json"),
    ],
)
def test_a_part_of_the_benchmark_has_another_file_name_than_all_of_it(choices, name):
    settings = {"suites": list(SUITES), "sizes": ["paper", "small"], "only": "", **choices}
    results = {"versions": {"device": "1 x cpu"}, "cores": 2, "date": "2026-11-26T01:02:03+00:00"}
    assert campaign.file_name({**results, "settings": settings}) == name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suites": ("samplin",)}, "unknown suite 'samplin'.*Did you mean 'sampling'"),
        ({"suites": ()}, "--suites is empty"),
        ({"sizes": ("huge",)}, "unknown size 'huge'"),
        ({"only": "seeds 3"}, "--only='seeds 3' matches no group of data"),
        ({"peers": Path("/nowhere")}, "no Python environment in /nowhere.*--setup-peers"),
    ],
)
def test_wrong_options_raise_one_message(changes, message):
    with pytest.raises(UserError, match=message):
        build_options(**{"suites": ("data",), **changes})


def test_a_wrong_flag_is_one_line():
    command = [sys.executable, "-m", "experiments.benchmark", "--suites=samplin"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: unknown suite 'samplin'")
    assert done.stderr.count("\n") == 1


def test_only_the_selected_groups_are_measured(monkeypatch):
    measured = []
    monkeypatch.setattr(campaign, "measure", lambda group, *_: measured.append(group.name) or [])
    settings = ("td3bc", 16), ("iql", 16), ("td3bc", 1)
    groups = [Group("learners", name, {"seeds": n}, lambda stack: []) for name, n in settings]
    monkeypatch.setitem(SUITES, "learners", lambda options: iter(groups))
    list(campaign.measure_suites(build_options(("learners",), only="seeds 16")))
    assert measured == ["td3bc", "iql"]


def suite_with(suite, prepare):
    """A suite of one group that exceeds the memory and one with the given cases."""

    def too_large(stack):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 99 GiB")

    return lambda options: iter(
        [Group(suite, "large", {}, too_large), Group(suite, "small", {}, prepare)]
    )


def test_a_group_that_raises_is_reported_and_the_next_ones_are_measured(monkeypatch):
    def wrong(stack):
        raise ZeroDivisionError("no device")

    groups = [Group("data", "wrong", {}, wrong), Group("data", "right", {}, lambda stack: [])]
    monkeypatch.setattr(campaign, "measure", lambda *_: [])
    monkeypatch.setitem(SUITES, "data", lambda options: iter(groups))
    *_, results = campaign.measure_suites(build_options(("data",)))
    assert results["failed"] == ["data: wrong: ZeroDivisionError: no device"]
    assert results["settings"]["matmul_precision"] == "default"


def test_an_interrupted_benchmark_saves_the_finished_groups(monkeypatch, tmp_path):
    def interrupt(stack):
        raise Interrupted

    monkeypatch.setattr(campaign, "measure", lambda group, *_: [])
    monkeypatch.setitem(SUITES, "data", suite_with("data", lambda stack: []))
    monkeypatch.setitem(SUITES, "scale", suite_with("scale", interrupt))
    with pytest.raises(Interrupted):
        campaign.write_results(build_options(("data", "scale")), tmp_path / "found.json")
    assert [path.name for path in tmp_path.iterdir()] == ["found-unfinished.json"]
    results = json.loads((tmp_path / "found-unfinished.json").read_text())
    assert set(results["seconds"]) == {"data", "scale"}
    assert len(results["notes"]) == 2
    assert "data: dropped large: out of memory: lower its sizes" in results["notes"][0]
    campaign.write_results(build_options(("data",)), tmp_path / "found.json")
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


@pytest.mark.parametrize("scope", [CPU, ACCELERATOR])
def test_the_settings_of_the_pipeline_suite_fit_its_config(scope):
    config = quickstart.get_config()
    config.update_from_flattened_dict(scope.run_settings)
    build(config)
