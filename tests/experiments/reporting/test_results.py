import numpy as np
import pytest

from dawm_jax.evaluation.scores import (
    mean_interval,
    probability_of_improvement,
    smallest_effect,
)
from experiments.reporting import tables
from experiments.reporting.across_runs import aggregates, effects
from experiments.reporting.results import score_note
from experiments.reporting.scores import arms, difference, source_effects


def entry(name, source, scores):
    def policy(scores):
        return {"seeds": [{"normalized_score": score} for score in scores]}

    other = [None if score is None else -score for score in scores]
    policies = {"averaged": policy(scores), "last": policy(other)}
    return {"name": name, "source": source, "policies": policies}


RECORDED, DAWM = [10.0, 30.0, 20.0, 4.0, 6.0], [15.0, 31.0, 29.0, 3.0, 8.0]


def test_effects_are_differences_seed_by_seed():
    learners = [
        entry("iql", "recorded", RECORDED),
        entry("iql", "dawm", DAWM),
        entry("bc", "dawm", DAWM),
    ]
    difference = np.subtract(DAWM, RECORDED)
    low, high = mean_interval(difference)
    expected = f": iql, dawm +3.2 ({low:+.1f} to {high:+.1f}; {smallest_effect(difference):.1f})."
    assert expected in source_effects(learners)
    assert "share one set of synthetic transitions" in source_effects(learners)


def test_effects_of_few_seeds_have_no_interval():
    learners = [
        entry("iql", name, few[:3]) for name, few in (("recorded", RECORDED), ("dawm", DAWM))
    ]
    effects = source_effects(learners)
    assert ": iql, dawm +5.0 (+1.0 to +9.0)." in effects
    assert "3 seeds are too few for an interval" in effects


def run(name, *learners):
    return {"config": {"seeds": 5, "dataset": f"local/{name}"}, "learners": list(learners)}


def test_aggregates_are_over_the_seeds_of_several_data_sets():
    """Every seed of one data set gains 2, of the other 4: the middle half has as many of each."""
    runs = [
        run("a", entry("iql", "recorded", RECORDED), entry("iql", "dawm", np.add(RECORDED, 2.0))),
        run("b", entry("iql", "recorded", DAWM), entry("iql", "dawm", np.add(DAWM, 4.0))),
    ]
    text = aggregates(runs)
    better = [
        probability_of_improvement(np.add(x, d), x) for x, d in ((RECORDED, 2.0), (DAWM, 4.0))
    ]
    assert text.endswith(f": iql, dawm +3.0 (+3.0 to +3.0; {np.mean(better):.2f}).")
    assert text in effects(runs)
    few = [run("a", entry("iql", "recorded", [1.0, 2.0]), entry("iql", "dawm", [3.0, 4.0]))]
    assert aggregates(few) is None
    assert aggregates([runs[0], few[0]]) is None
    assert aggregates(runs[:1]) is None


def test_effects_of_several_runs_are_counted():
    """A gain of every seed, a loss of every seed, and one that differs from seed to seed."""
    up, down = np.add(RECORDED, 2.0).tolist(), np.add(RECORDED, [-2.0, -2.5, -1.5, -2.0, -2.2])
    runs = [
        run("a", entry("iql", "recorded", RECORDED), entry("iql", "dawm", up)),
        run("b", entry("iql", "recorded", RECORDED), entry("iql", "dawm", down.tolist())),
        run("c", entry("bc", "recorded", RECORDED), entry("bc", "dawm", DAWM)),
    ]
    lines = effects(runs).splitlines()
    assert lines[2] == "| a | iql | dawm | 14.0 | 16.0 | +2.0 (+2.0 to +2.0; 0.0) |"
    assert lines[3].startswith("| b | iql | dawm | 14.0 | 12.0 | -2.0 (-2.")
    assert lines[4] == f"| c | bc | dawm | 14.0 | 17.2 | {difference(DAWM, RECORDED)} |"
    assert lines[6:] == ["Differences above 0 by their interval: 1 of 3; below 0: 1."]


def test_a_source_left_out_changes_nothing():
    """The learners that it would have had are those of the recorded data."""
    up = np.add(RECORDED, 2.0).tolist()
    without = run("b", entry("iql", "recorded", RECORDED), entry("bc", "recorded", DAWM))
    without["sources"] = {"recorded": {"left_out": None}, "dawm": {"left_out": "It is far."}}
    runs = [run("a", entry("iql", "recorded", RECORDED), entry("iql", "dawm", up)), without]
    lines = effects(runs).splitlines()
    assert lines[3:5] == [
        "| b | iql | dawm | 14.0 |  | left out |",
        "| b | bc | dawm | 17.2 |  | left out |",
    ]
    assert lines[6].startswith("Differences above 0 by their interval: 1 of 3; below 0: 0. Data")
    gained, alone = (probability_of_improvement(one, RECORDED) for one in (up, RECORDED))
    assert aggregates(runs).endswith(f"; {(gained + alone) / 2:.2f}).")


def test_the_effect_in_a_comparison_of_variants_is_the_defaults():
    alone, up, down = (
        entry("iql", source, scores)
        for source, scores in (
            ("recorded", RECORDED),
            ("dawm", np.add(RECORDED, 2.0)),
            ("dawm", DAWM),
        )
    )
    rows = [{"learners": [{"recorded": alone, "synthetic": one}]} for one in (up, down)]
    config = {"seeds": 5, "dataset": "local/a"}
    assert effects([{"config": config, "rows": rows}]) == effects([run("a", alone, up)])


@pytest.mark.parametrize("scores", [[None, None], [3.0]])
def test_no_effect_without_scores_of_several_seeds(scores):
    assert source_effects([entry("bc", "recorded", scores), entry("bc", "dawm", scores)]) is None


def test_scores_are_labelled_unless_there_are_none():
    dataset = {"id": "a-v0", "environment": "Hopper-v5", "reference_scores": [0.0, 1.0]}
    assert "not comparable with D4RL" in score_note(dataset)
    assert score_note({**dataset, "reference_scores": None}) is None
    assert score_note({**dataset, "environment": None}) is None
    of_d4rl = {**dataset, "id": "d4rl/hopper/medium-v2"}
    assert "not comparable" in score_note(of_d4rl)  # on Hopper-v5
    assert "as in D4RL's v2 tables" in score_note({**of_d4rl, "environment": "Hopper-v4"})
    assert "D4RL" not in score_note({**dataset, "environment": "Pendulum-v1"})


def test_a_note_says_where_the_references_are_from():
    dataset = {"id": "mujoco/hopper/medium-v0", "environment": "Hopper-v5"}
    note = {"reference_note": "0 is random."}
    scored = {**dataset, "reference_scores": [0.0, 1.0]}
    assert score_note(scored | note).endswith("rewards and physics differ. 0 is random.")
    assert score_note({**dataset, "reference_scores": None} | note) == "0 is random."


def test_the_table_of_references_names_what_is_unpublished():
    row = {"return_mean": 1.0, "standard_error": 0.25, "length_mean": 9.6}
    environments = {"Hopper-v5": row, "Ant-v5": row}
    table = tables.references({"episodes": 7, "environments": environments}).splitlines()
    assert "mean of 7 episodes" in table[0]
    assert table[2].startswith("| Hopper-v5 | 1.00 +- 0.25 | 10 | [4098.17](https://")
    assert table[3] == "| Ant-v5 | 1.00 +- 0.25 | 10 | none published |"


def test_the_table_of_d3rlpy_compares_each_arm_with_the_first():
    def arm(data, *scores):
        seeds = [{"score": score, "returns": [1.0, 2.0]} for score in scores]
        mean = sum(scores) / len(scores)
        return {"data": data, "transitions": 1000, "mean_score": mean, "seeds": seeds}

    results = {"updates": 500, "environment": "Hopper-v5"}
    results["arms"] = [arm("recorded", 10.0, 12.0), arm("synthetic", 13.0, 13.0)]
    text = arms(results)
    assert "2 seeds x 2 episodes" in text
    assert "too few for an interval" in text
    assert text.splitlines()[-2:] == [
        "| recorded | 1,000 | 11.0 | 10.0 to 12.0 |  |",
        "| synthetic | 1,000 | 13.0 | 13.0 to 13.0 | +2.0 (+1.0 to +3.0) |",
    ]


def test_the_table_of_a_round_trip_adds_up_its_seconds():
    rows = [{"step": "collect", "seconds": 10.4, "megabytes": 5.0}]
    rows.append({"step": "train", "seconds": 20.0, "megabytes": 0.2})
    lines = tables.round_trip({"rows": rows}).splitlines()
    assert lines[2:] == ["| collect | 10 | 5 |", "| train | 20 | 0 |", "| together | 30 | |"]
