"""Two sources that generate: neither overwrites a result, a picture or a stage of the other."""

import shutil
from collections import Counter

import numpy as np
import pytest

from dawm_jax.sources import DAWM, SOURCES
from experiments import pipeline
from experiments.faults.comparison import results_of, without_timings
from experiments.stages import train as training
from experiments.store.stage import stages_of


@pytest.fixture(scope="module")
def both(finished, tmp_path_factory):
    """A finished run of DAWM, and beside it in the same folder DAWM with other settings."""
    config, workdir, _ = finished
    config = config.copy_and_resolve_references().unlock()
    config.other = config.dawm.copy_and_resolve_references()
    config.other.target.value = 0.5
    config.other.inverse_dynamics.steps = 10  # half of the first one's
    config.sources, config.learners = ("dawm", "other"), ("bc", "td3bc")
    folder = tmp_path_factory.mktemp("both") / "run"
    shutil.copytree(workdir, folder)
    for path in folder.glob("*.png"):
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "other", DAWM)
        yield config, folder, pipeline.run(config, folder)


def test_each_has_its_own_results(both, finished):
    _, _, results = both
    assert list(results["sources"]) == ["dawm", "other"]
    dawm, other = results["sources"].values()
    assert dawm == finished[2]["sources"]["dawm"]
    assert other["models"]["world_model"] == dawm["models"]["world_model"]
    assert other["models"]["inverse_dynamics"]["loss"] != dawm["models"]["inverse_dynamics"]["loss"]
    assert other["synthesis"]["file"] != dawm["synthesis"]["file"]
    assert other["synthesis"]["reward_mean"] != dawm["synthesis"]["reward_mean"]
    for kind in ("rollouts", "transitions"):
        assert other["fidelity"][kind].keys() == dawm["fidelity"][kind].keys()
        assert other["fidelity"][kind] != dawm["fidelity"][kind]


def test_each_has_its_own_stages(both, finished):
    _, folder, _ = both
    before = Counter(one.stage for one in stages_of(finished[1]))
    added = Counter(one.stage for one in stages_of(folder)) - before
    own = {f"{kind}-other" for kind in ("synthesis", "fidelity", "transitions", "bc", "td3bc")}
    assert added == Counter({"inverse_dynamics", *own})
    assert before["inverse_dynamics"] == before["world_model"] == 1
    first, second = results_of(finished[1]), results_of(folder)
    stages = {name for name in first if "/" in name}
    assert stages
    assert {name: first[name] for name in stages} == {name: second[name] for name in stages}


def test_each_has_its_own_pictures(both):
    _, folder, _ = both
    kinds = ("distributions", "fidelity", "trajectories")
    expected = {f"{kind}-{source}.png" for kind in kinds for source in ("dawm", "other")}
    assert {path.name for path in folder.glob("*.png")} == expected | {"learning_curves.png"}
    for kind in kinds[:2]:  # trajectories show states alone, and the world model is the same
        first, second = (folder / f"{kind}-{source}.png" for source in ("dawm", "other"))
        assert first.read_bytes() != second.read_bytes()


def test_each_has_its_own_transitions(both):
    _, folder, results = both
    files = [folder / source["synthesis"]["file"] for source in results["sources"].values()]
    first, second = (np.load(path)["observation"] for path in files)
    assert first.shape[1] == second.shape[1]
    assert not np.array_equal(first, second)


def test_learners_are_trained_on_each(both, finished):
    _, _, results = both
    scores = {(entry["name"], entry["source"]): entry["policies"] for entry in results["learners"]}
    assert list(scores) == [(n, s) for s in ("dawm", "other") for n in ("bc", "td3bc")]
    for entry in finished[2]["learners"]:
        if (entry["name"], entry["source"]) in scores:
            assert entry["policies"] == scores[entry["name"], entry["source"]]
    assert scores["td3bc", "dawm"] != scores["td3bc", "other"]


@pytest.mark.slow
def test_a_second_run_reuses_all_stages(both, monkeypatch):
    config, folder, results = both
    monkeypatch.setattr(training, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    assert without_timings(pipeline.run(config, folder)) == without_timings(results)
