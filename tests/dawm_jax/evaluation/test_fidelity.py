"""Fidelity metrics against float64 numpy and sums by hand."""

import numpy as np
import pytest

from dawm_jax.evaluation.fidelity import (
    explained_at_steps,
    explained_variance,
    nearest_distances,
    spread_over_error,
    terminal_agreement,
    variance_ratio,
)


def noisy_rows(rows=1000):
    """Recorded features of two scales, worse and better predictions, and a mask of rows."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(rows, 2)) * [1.0, 50.0] + [3.0, 0.0]
    predicted = true + rng.normal(size=true.shape) * [0.5, 5.0]
    return predicted, true, rng.random(rows) < 0.8


def naive_share(predicted, true):
    return 1 - ((predicted - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()


def test_explained_variance_by_hand():
    true = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 5.0], [6.0, 5.0]])  # variances 5 and 4
    predicted = np.array([[1.0, 1.0], [3.0, 1.0], [5.0, 5.0], [7.0, 1.0]])  # errors 1 and 4
    found = explained_variance(predicted, true)
    assert found == {"dimensions": pytest.approx([0.8, 0.0]), "pooled": pytest.approx(0.4)}


def test_explained_variance_of_masked_rows():
    predicted, true, mask = noisy_rows()
    expected = [naive_share(predicted[mask, d], true[mask, d]) for d in range(2)]
    found = explained_variance(predicted, true, mask)
    np.testing.assert_allclose(found["dimensions"], expected, rtol=1e-9)
    assert found["pooled"] == pytest.approx(np.mean(expected))
    assert found["dimensions"] != explained_variance(predicted, true)["dimensions"]


def test_predicting_the_mean_scores_zero_and_the_truth_one():
    _, true, _ = noisy_rows()
    mean = np.broadcast_to(true.mean(axis=0), true.shape)
    np.testing.assert_allclose(explained_variance(mean, true)["dimensions"], 0.0, atol=1e-9)
    assert explained_variance(true, true) == {"dimensions": [1.0, 1.0], "pooled": 1.0}
    assert explained_variance(true - 100.0, true)["dimensions"][0] < -1000.0


def test_constant_features_have_no_share_and_are_not_pooled():
    true = np.stack([np.arange(10.0), np.full(10, 7.0)], axis=1)
    wrong = true + np.array([0.0, 3.0])
    assert explained_variance(wrong, true) == {"dimensions": [1.0, None], "pooled": 1.0}
    assert explained_variance(wrong[:, 1:], true[:, 1:]) == {"dimensions": [None], "pooled": None}


def test_no_rows_have_no_share():
    nothing = {"dimensions": [None, None], "pooled": None}
    assert explained_variance(np.ones((4, 2)), np.eye(4, 2), np.zeros(4, bool)) == nothing
    assert explained_variance(np.ones((0, 2)), np.ones((0, 2))) == nothing


def test_each_step_has_its_own_share():
    predicted, true, mask = (part.reshape(-1, 4, *part.shape[1:]) for part in noisy_rows())
    mask[:, 3] = False
    found = explained_at_steps(predicted, true, mask)
    for t in range(3):
        rows = mask[:, t]
        expected = [naive_share(predicted[rows, t, d], true[rows, t, d]) for d in range(2)]
        np.testing.assert_allclose(found["dimensions"][t], expected, rtol=1e-9)
        assert found["pooled"][t] == pytest.approx(np.mean(expected))
    assert found["pooled"][3:] == [None]
    assert found["dimensions"][3:] == [[None, None]]


def test_variance_ratio_by_hand():
    """Steps are pooled: a state that is constant at each step but differs between steps varies."""
    true = np.array([[[0.0, 1.0, 2.0], [4.0, 3.0, 2.0]], [[8.0, 5.0, 2.0], [99.0, 99.0, 2.0]]])
    generated = np.array([[[1.0, 9.0, 0.0], [3.0, 9.0, 1.0]], [[5.0, 9.0, 5.0], [0.0, 0.0, 0.0]]])
    mask = np.array([[True, True], [True, False]])
    found = variance_ratio(generated, true, mask)  # of (1, 3, 5) to (0, 4, 8), of 9 to (1, 3, 5)
    assert found["dimensions"][:2] == pytest.approx([0.25, 0.0])
    assert found["dimensions"][2] is None
    assert found["pooled"] == pytest.approx(0.125)
    constant = np.ones((5, 2, 1))
    mask = np.ones((5, 2), bool)
    assert variance_ratio(constant, constant, mask) == {"dimensions": [None], "pooled": None}


def test_terminal_agreement_counts():
    true = np.array([True, True, True, True, False, False, False, False])
    predicted = np.array([True, True, False, False, True, False, False, False])
    assert terminal_agreement(true, predicted) == {
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "base_rate": 0.5,
    }
    none, some = np.zeros(4, bool), np.array([True, False, False, False])
    assert terminal_agreement(none, some) == {"precision": 0.0, "recall": None, "base_rate": 0.0}
    assert terminal_agreement(some, none) == {"precision": None, "recall": 0.0, "base_rate": 0.25}
    assert set(terminal_agreement(none[:0], none[:0]).values()) == {None}


def test_spread_over_error_by_hand():
    """Two samples of mean 2, variance 2, at errors of 1 and 3; the masked row would change it."""
    samples = np.array([[[[1.0]], [[1.0]], [[9.0]]], [[[3.0]], [[3.0]], [[-9.0]]]])
    true = np.array([[[3.0]], [[5.0]], [[100.0]]])
    mask = np.array([[True], [True], [False]])
    expected = np.sqrt(1.5 * 2.0 / 5.0)
    assert spread_over_error(samples, true, mask) == {
        "pooled": [pytest.approx(expected)],
        "dimensions": [[pytest.approx(expected)]],
    }


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_spread_over_error_is_one_for_samples_of_the_true_distribution(scale):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(4000, 2, 3)) * [1.0, 50.0, 0.0]
    deviation = np.array([0.1, 20.0, 0.0])
    true = mean + deviation * rng.normal(size=mean.shape)
    samples = mean + scale * deviation * rng.normal(size=(4, *mean.shape))
    found = spread_over_error(samples, true, np.ones((4000, 2), bool))
    error = np.sqrt((1.0 + scale**2 / 4) / (scale**2 * 1.25))  # the mean's own error counts
    for pooled, dimensions in zip(found["pooled"], found["dimensions"], strict=True):
        assert pooled == pytest.approx(1.0 / error, rel=0.05)
        assert dimensions[:2] == pytest.approx([1.0 / error] * 2, rel=0.05)
        assert dimensions[2] is None


def test_spread_over_error_without_rows_is_none():
    found = spread_over_error(np.ones((2, 3, 1, 2)), np.ones((3, 1, 2)), np.zeros((3, 1), bool))
    assert found == {"pooled": [None], "dimensions": [[None, None]]}


def test_nearest_distances_by_hand():
    """The second feature has a deviation of 10, and the third is constant."""
    recorded = np.array(
        [[-1.0, -10.0, 7.0], [1.0, 10.0, 7.0], [-1.0, 10.0, 7.0], [1.0, -10.0, 7.0]]
    )
    rows = np.array([[-1.0, -5.0, 7.0], [2.0, 10.0, 0.0]])
    np.testing.assert_allclose(nearest_distances(rows, recorded), [0.5, 1.0])
    np.testing.assert_allclose(nearest_distances(recorded, recorded), np.zeros(4))
    np.testing.assert_allclose(
        nearest_distances(recorded, recorded, exclude_itself=True), [2.0] * 4
    )
