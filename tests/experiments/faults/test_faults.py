import json
import random
import shutil

import jax
import pytest

from experiments.faults.comparison import differences, results_of
from experiments.faults.damage import damage_one, newest_files
from experiments.faults.trials import Campaign


def test_faults_of_every_kind_change_no_result(tmp_path, finished):
    """The short form of `python -m experiments.faults`, on programs that are compiled already."""
    arguments = ["--config=experiments/configs/tiny.py", "--config.learners=bc"]
    cache = jax.config.jax_compilation_cache_dir
    campaign = Campaign(tmp_path, arguments, seed=1, cache=cache)
    assert {"recording", "world_model", "synthesis", "bc-real", "bc-dawm"} <= set(campaign.order)
    trials = campaign.run(kills=4, damages=1, signals=1, disks=0)
    assert [trial.wrong for trial in trials] == [[]] * len(trials)
    assert campaign.count("kill") == 4
    assert campaign.count("damage") == 1
    assert campaign.count("SIGTERM") <= 1  # none if it came after the end


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "run")
    return tmp_path / "run"


def append(path, content):
    path.write_bytes(path.read_bytes() + content)


def test_every_result_is_compared(finished, copied):
    expected = results_of(finished[1])
    assert differences(expected, results_of(copied)) == []
    results = json.loads((copied / "results.json").read_text())
    results["learners"][0]["seeds"][1]["returns"][0] += 1e-12
    (copied / "results.json").write_text(json.dumps(results))
    append(copied / "metrics.jsonl", b"{}\n")
    stages = {path.name.rpartition("-")[0]: path for path in (copied / "stages").iterdir()}
    append(stages["synthesis"] / "transitions.npz", b"0")
    append(stages["bc-real"] / "curve.json", b" ")
    shutil.rmtree(stages["iql-dawm"] / "checkpoints" / "20")
    shutil.rmtree(stages["td3bc-dawm"] / "best")
    assert differences(expected, results_of(copied)) == sorted(
        [
            "results.json",
            "metrics.jsonl",
            f"{stages['synthesis'].name}/transitions.npz",
            f"{stages['bc-real'].name}/curve.json",
            f"{stages['iql-dawm'].name}/checkpoints",
            f"{stages['td3bc-dawm'].name}/best",
        ]
    )


def test_damage_reaches_every_kind_of_file(finished, copied):
    found = newest_files(copied)
    names = {path.name for path in found}
    assert {"transitions.npz", "record.json", "curve.json", "20.sha256", "_METADATA"} <= names
    for seed in range(20):
        before = {path: path.read_bytes() for path in found}
        how, path = damage_one(found, random.Random(seed))
        changed = [p for p in found if not p.exists() or p.read_bytes() != before[p]]
        assert changed == [path]
        assert path.exists() == (how != "gone")
        path.write_bytes(before[path])
