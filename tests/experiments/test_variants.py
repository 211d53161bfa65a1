"""Variants of a config, compared in a tiny run."""

import json
import shutil
from copy import deepcopy

import pytest

from dawm_jax.errors import UserError
from experiments import variants
from experiments.reporting import scores
from experiments.run.config import build
from experiments.store.stage import stages_of


@pytest.fixture
def compare(finished, tmp_path, monkeypatch):
    """compare(names, **changes of the config) -> variants.json, and the variants trained.

    Nothing is trained: the scores of seed n are 4 n alone, 100 ratio + n with synthetic rows.
    """
    entries = {e["source"]: e for e in finished[2]["learners"] if e["name"] == "td3bc"}
    ratios = []

    def train(run, evaluator):
        assert evaluator is not None
        ratios.append(run.config.synthetic_ratio)
        alone, synthetic = deepcopy(entries["recorded"]), deepcopy(entries["dawm"])
        for number in range(2):
            for entry, score in ((alone, 4 * number), (synthetic, 100 * ratios[-1] + number)):
                entry["policies"]["averaged"]["seeds"][number]["normalized_score"] = score
        pair = {"recorded": alone, "synthetic": synthetic}
        return {"learners": [pair], "synthesis": {}, "fidelity": {}}

    def compare(names, **changes):
        config = finished[0].copy_and_resolve_references()
        config.update(changes)
        ratios.clear()
        variants.compare(config, tmp_path, names)
        return json.loads((tmp_path / "variants.json").read_text()), list(ratios)

    monkeypatch.setattr(variants, "train", train)
    return compare


def test_variants_are_added_to_those_that_are_there(compare):
    results, ratios = compare(["ratio-0.75"])
    assert ratios == [0.5, 0.75]
    again, ratios = compare(["ratio-0.25"])
    assert ratios == [0.5, 0.25]
    default, quarter, most = again["rows"]
    assert [default, most] == results["rows"]
    assert (quarter["variant"], quarter["changes"]) == ("ratio-0.25", {"synthetic_ratio": 0.25})


def test_another_config_is_refused_before_anything_is_trained(compare, tmp_path):
    results, _ = compare(["ratio-0.75"])
    with pytest.raises(UserError, match=r"another config, whose .*updates differ: name another"):
        compare([], updates=10)
    assert json.loads((tmp_path / "variants.json").read_text()) == results


def test_the_table_has_a_row_for_each_learner_and_variant(compare):
    results, _ = compare(["ratio-0.75"])
    text = scores.variants([results, results])
    _, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    name = results["config"]["dataset"].removeprefix("local/")
    expected = [
        "td3bc | default | 2.0 | 50.5 | +48.5 (+47.0 to +50.0) |  |",
        "td3bc | ratio-0.75 | 2.0 | 75.5 | +73.5 (+72.0 to +75.0) | +25.0 (+25.0 to +25.0) |",
    ]
    assert rows == [f"| {name} | {row}" for row in expected] * 2
    assert "2 seeds are too few for an interval" in text


@pytest.mark.slow
def test_variants_are_trained_beside_recorded_data_and_share_what_is_equal(finished, tmp_path):
    config, workdir, of_run = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    variants.compare(config, tmp_path, ["critics-alone", "critic-layer-norm", "ratio-0.25"])
    rows = json.loads((tmp_path / "variants.json").read_text())["rows"]
    pairs = {
        (row["variant"], pair["synthetic"]["name"]): pair
        for row in rows
        for pair in row["learners"]
    }
    assert set(pairs) == {
        ("default", "bc"),
        ("default", "td3bc"),
        ("ratio-0.25", "bc"),
        ("ratio-0.25", "td3bc"),
        ("critic-layer-norm", "td3bc"),  # behavior cloning has no critics
        ("critics-alone", "td3bc"),
    }
    for pair in pairs.values():
        assert [pair[of]["source"] for of in ("recorded", "synthetic")] == ["recorded", "dawm"]
    default, other = pairs["default", "td3bc"], pairs["critics-alone", "td3bc"]
    assert default["recorded"] == other["recorded"]
    assert default["synthetic"]["policies"] != other["synthetic"]["policies"]
    assert default["synthetic"] in of_run["learners"]
    assert {row["synthesis"]["file"] for row in rows} == {
        of_run["sources"]["dawm"]["synthesis"]["file"]
    }
    names = [stage.stage for stage in stages_of(tmp_path)]
    assert names.count("td3bc-dawm") == 4
    # Of the run itself, with critics on recorded rows; here on all, and with layer norm.
    assert names.count("td3bc-recorded") == 3


def test_an_unknown_variant_is_refused(config, tmp_path):
    with pytest.raises(UserError, match=r"unknown variant 'ratio-0\.7': the choices are"):
        variants.compare(config, tmp_path, ["ratio-0.7"])


def test_a_variant_without_a_learner_is_refused(config, tmp_path):
    config.learners = ("bc",)
    with pytest.raises(UserError, match="'critic-layer-norm' changes a setting that no learner of"):
        variants.compare(config, tmp_path, ["critic-layer-norm"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_variants_are_settings_of_a_config(config, name):
    config.learners = ("td3bc,iql",)
    one = variants.changed(config, name)
    same = build(one) == build(config) and one.synthetic_ratio == config.synthetic_ratio
    assert same == (name == variants.DEFAULT)
