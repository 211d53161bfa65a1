import json
import random
import shutil

import jax
import pytest

from experiments.faults.comparison import differences, results_of
from experiments.faults.damage import damage_all_checkpoints, damage_one, newest_files
from experiments.faults.messages import NO_CHECKPOINT, names_damaged_file
from experiments.faults.trials import Campaign
from experiments.store.checkpoints import Checkpoints
from experiments.store.files import sound
from experiments.store.stage import stages_of


@pytest.mark.slow
def test_faults_of_every_kind_change_no_result(tmp_path, finished):
    """A short `python -m experiments.faults`, with a warm compilation cache."""
    arguments = ["--config=experiments/configs/tiny.py", "--config.learners=bc"]
    cache = jax.config.jax_compilation_cache_dir
    campaign = Campaign(tmp_path, arguments, seed=1, cache=cache)
    stages = {"recording", "world_model", "synthesis-dawm", "bc-recorded", "bc-dawm"}
    assert stages <= set(campaign.parts)
    trials = campaign.run(kills=4, damages=1, signals=1, disks=0)
    assert [trial.failures for trial in trials] == [[]] * len(trials)
    assert campaign.count("kill") == 4
    assert campaign.count("damage") == 1
    assert campaign.count("SIGTERM") <= 1  # none if the run ended first


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "run")
    return tmp_path / "run"


def append(path, content):
    path.write_bytes(path.read_bytes() + content)


@pytest.mark.slow
def test_every_result_is_compared(finished, copied):
    expected = results_of(finished[1])
    assert differences(expected, results_of(copied)) == []
    results = json.loads((copied / "results.json").read_text())
    results["learners"][0]["policies"]["last"]["seeds"][1]["returns"][0] += 1e-12
    (copied / "results.json").write_text(json.dumps(results))
    append(copied / "metrics.jsonl", b"{}\n")
    stages = {files.stage: files for files in stages_of(copied)}
    append(stages["synthesis-dawm"].transitions, b"0")
    append(stages["bc-recorded"].curve, b" ")
    shutil.rmtree(stages["bc-dawm"].checkpoints / "20")
    shutil.rmtree(stages["td3bc-dawm"].best)
    assert differences(expected, results_of(copied)) == sorted(
        [
            "results.json",
            "metrics.jsonl",
            f"{stages['synthesis-dawm'].path.name}/transitions.npz",
            f"{stages['bc-recorded'].path.name}/curve.json",
            f"{stages['bc-dawm'].path.name}/checkpoints",
            f"{stages['td3bc-dawm'].path.name}/best",
        ]
    )


def test_damage_reaches_every_kind_of_file(finished, copied):
    found = newest_files(copied)
    paths = [file.path for file in found]
    names = {path.name for path in paths}
    assert {"transitions.npz", "record.json", "curve.json", "20.sha256", "_METADATA"} <= names
    assert {path.name for path in paths if path.suffix == ".sha256"} == {
        file.path.name for file in found if file.is_seal
    }
    for seed in range(20):
        before = {path: path.read_bytes() for path in paths}
        how, file = damage_one(found, random.Random(seed))
        changed = [p for p in paths if not p.exists() or p.read_bytes() != before[p]]
        assert changed == [file.path]
        assert file.path.exists() == (how != "deleted")
        assert file.path.exists() or not file.is_seal
        file.path.write_bytes(before[file.path])


def test_damaged_files_are_named_as_in_the_messages_of_a_run(finished, copied, capsys):
    found = newest_files(copied)
    file = next(file for file in found if file.path.name == "_METADATA")
    file.path.unlink()
    checkpoints = Checkpoints(file.stage.checkpoints, file.stage.stage, keep=1)
    checkpoints.newest()
    checkpoints.close()
    assert names_damaged_file(capsys.readouterr().out, file.stage.stage, file.name)
    file = next(file for file in found if file.path == file.stage.curve)
    file.path.write_text("{}")
    assert not sound(file.path, file.stage.stage)
    assert names_damaged_file(capsys.readouterr().out, file.stage.stage, file.name)


def test_every_checkpoint_of_a_stage_is_damaged(finished, copied, capsys):
    stage = damage_all_checkpoints(copied, random.Random(0))
    checkpoints = Checkpoints(stage.checkpoints, stage.stage, keep=1)
    assert checkpoints.newest() is None
    checkpoints.close()
    assert f"{NO_CHECKPOINT} checkpoints" in capsys.readouterr().out
