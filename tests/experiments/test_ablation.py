import json
import shutil
from copy import deepcopy

import pytest

from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import UserError
from dawm_jax.sources import DAWM
from experiments import ablation
from experiments.reporting import tables
from experiments.run.config import build


@pytest.fixture(scope="module")
def results(finished, tmp_path_factory):
    """Two kinds of tiny world models, and another way to sample from the first."""
    config, finished_folder, _ = finished
    workdir = tmp_path_factory.mktemp("ablation") / "run"
    shutil.copytree(finished_folder, workdir)
    with pytest.MonkeyPatch.context() as patch:
        states = {"dawm.world_model.observation_target": "absolute"}
        as_set = {ablation.TEMPERATURE: config.dawm.sampling.temperature}
        ddim = {"dawm.sampling.sampler": "ddim"}
        kinds = {"increments x0": as_set, "states x0": states, "DDIM": ddim}
        patch.setattr(ablation, "KINDS", kinds)
        ablation.ablate(config, workdir, [])
    return json.loads((workdir / "ablation.json").read_text())


@pytest.mark.slow
def test_every_kind_is_measured(results, finished):
    first, states, ddim = results["rows"]
    dawm = finished[2]["sources"]["dawm"]
    assert first["fidelity"] == dawm["fidelity"]["rollouts"]
    assert first["temperature"] == finished[0].dawm.sampling.temperature
    assert states["temperature"] in ablation.TEMPERATURES
    assert first["world_model"] == ddim["world_model"] == dawm["models"]["world_model"]
    assert states["world_model"]["loss"] != first["world_model"]["loss"]
    figures = [row["fidelity"]["states"]["synthetic"]["pooled"] for row in results["rows"]]
    assert len({tuple(shares) for shares in figures}) == 3
    yardsticks = [row["fidelity"]["states"]["one_step_model"] for row in results["rows"]]
    assert yardsticks[0] == yardsticks[1] == yardsticks[2]


def test_an_unknown_kind_is_refused(config, tmp_path):
    with pytest.raises(UserError, match=r"unknown kind 'v': the choices are .*increments v,"):
        ablation.ablate(config, tmp_path, ["v"])


def test_one_sample_is_refused(config, tmp_path):
    config.fidelity.samples = 1
    with pytest.raises(UserError, match=r"fidelity.samples is 1, but a spread takes 2 or more"):
        ablation.ablate(config, tmp_path, [])


@pytest.mark.parametrize(
    ("ratio", "temperature"), [(0.4, 2.5), (0.6, 1.75), (0.55, 1.75), (0.1, 4.0), (9.0, 0.5)]
)
def test_the_calibrated_temperature_is_the_one_whose_ratio_is_nearest_to_one(
    monkeypatch, ratio, temperature
):
    def spread(run, source, *_):
        return {"states": {"pooled": [ratio * source.sampling.temperature, None]}}

    monkeypatch.setattr("experiments.fidelity.held_out.spread", spread)
    source = ablation.calibrated(None, DAWM(), {}, None)
    assert source == DAWM(sampling=Sampling(temperature=temperature))


@pytest.mark.slow
def test_its_table_has_a_row_for_each(results):
    *_, first, states, ddim = tables.ablation(results).splitlines()
    shares = results["rows"][1]["fidelity"]["states"]["synthetic"]["pooled"]
    assert f"| {shares[0]:.3f} / {shares[-1]:.3f} |" in states
    assert first.startswith("| increments x0 |")
    assert ddim.startswith("| DDIM |")
    assert len({row.count("|") for row in (first, states, ddim)}) == 1


def test_the_fidelity_of_runs_is_a_table(finished):
    results = deepcopy(finished[2])
    dawm = results["sources"]["dawm"]
    report = dawm["fidelity"]["rollouts"]
    changes = report["simulator"]["changes"]
    changes["synthetic"]["pooled"] = [0.5, 0.25, None]  # none of the last could be judged
    changes["one_step_model"]["pooled"] = [0.75, None, 0.125]
    (row,) = tables.fidelity([results]).splitlines()[2:]
    steps = results["config"]["dawm"]["world_model"]["steps"]
    size = f"{dawm['models']['world_model']['parameters'] / 1e6:.1f} million, {steps}"
    assert row.startswith(f"| {results['dataset']['id']} | {size} | 0.500 / - | 0.750 / 0.125 |")
    assert f"{report['variance_ratio']['synthetic']['pooled']:.2f} |" in row
    report["simulator"] = report["actions"]["unclipped"] = None
    (row,) = tables.fidelity([results]).splitlines()[2:]
    assert f"| - / - | - / - | {report['states']['synthetic']['pooled'][0]:.3f} /" in row
    assert f"{report['actions']['recorded']['pooled']:.3f} (-) |" in row


def test_the_ends_of_runs_are_a_table(finished):
    results = deepcopy(finished[2])
    found = {"precision": 0.5, "recall": None, "base_rate": 0.002}
    simulator = {"judged": 2_500, "terminals": found}
    results["sources"]["dawm"]["fidelity"]["transitions"]["simulator"] = simulator
    (row,) = tables.ends([results]).splitlines()[2:]
    assert row == f"| {results['dataset']['id']} | 2,500 | 5 | 0.500 | - |"


def test_the_kinds_are_settings_of_a_config(finished):
    for changes in ablation.KINDS.values():
        config = finished[0].copy_and_resolve_references()
        config.update_from_flattened_dict(changes)
        build(config)
