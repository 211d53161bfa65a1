import numpy as np
import pytest

from dawm_jax.evaluation.scores import bootstrap_interval
from experiments.reporting.results import score_note
from experiments.reporting.tables import source_effects


def entry(name, source, scores):
    return {
        "name": name,
        "source": source,
        "seeds": [{"normalized_score": score} for score in scores],
    }


def test_effects_are_differences_seed_by_seed():
    real, dawm = [10.0, 30.0, 20.0], [15.0, 31.0, 29.0]
    learners = [
        entry("iql", "recorded", real),
        entry("iql", "dawm", dawm),
        entry("bc", "dawm", dawm),
    ]
    low, high = bootstrap_interval(np.array([5.0, 1.0, 9.0]))
    assert source_effects(learners).endswith(f": iql, dawm +5.0 ({low:+.1f} to {high:+.1f}).")


@pytest.mark.parametrize("scores", [[None, None], [3.0]])
def test_no_effect_without_scores_of_several_seeds(scores):
    assert source_effects([entry("bc", "recorded", scores), entry("bc", "dawm", scores)]) is None


def test_scores_are_labelled_unless_there_are_none():
    dataset = {"environment": "Hopper-v5", "reference_scores": [0.0, 1.0]}
    assert "not comparable with D4RL" in score_note(dataset)
    assert score_note({**dataset, "reference_scores": None}) is None
    assert score_note({**dataset, "environment": None}) is None
