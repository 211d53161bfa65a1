"""The filter that drops what an ensemble of one-step models disagrees with."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from references import part_of
from toy_sources import SMALL, Windows, untrained

from dawm_jax.errors import UserError
from dawm_jax.sources import DAWM
from dawm_jax.sources.consistency import disagreement
from dawm_jax.sources.generate import Synthesis, synthesize

KEY = jax.random.key(0)


def test_the_disagreement_is_the_squared_deviation_from_the_elites_mean():
    data, state = untrained()
    few = jax.tree.map(lambda leaf: leaf[:12].reshape(3, 4, *leaf.shape[1:]), data.transitions)
    found = disagreement(SMALL, state, few)
    assert found.shape == (3, 4)
    best = np.argsort(SMALL.held_out_loss(state))[:2]
    one = SMALL._network
    predicted = []
    for number in best:
        member = part_of(state.members, number)
        rows = few.observation.reshape(12, -1), few.action.reshape(12, -1)
        following, reward = one.step(member, *rows)
        predicted.append(np.column_stack([following - rows[0], reward]))
    rows = np.asarray(data.rows)
    of = data.transitions
    true = np.column_stack([of.next_observation - of.observation, of.reward])
    error = (true[:12] - np.mean(predicted, axis=0)) / true[rows].std(axis=0)
    np.testing.assert_allclose(found.reshape(12), (error**2).mean(axis=1), rtol=1e-4)


def test_the_share_that_disagrees_most_is_dropped_whatever_the_chunk(small_dataset):
    """Of 2,000 transitions, or nearly, as rollouts that end early have fewer."""

    states = {"dynamics": untrained()[1]}

    def delivered(share, **settings):
        source = Windows(filter_share=share)
        return synthesize(source, states, small_dataset, Synthesis(**settings), jax.random.key(1))

    units = Windows(filter_share=0.3).units(2_000)
    assert units == np.ceil(2_000 / 7 / 0.7)
    every = delivered(0.0, transitions=7 * units, chunk=200)
    kept = delivered(0.3, transitions=2_000, chunk=200)
    deviation = np.asarray(disagreement(SMALL, states["dynamics"], every))
    limit = disagreement(SMALL, states["dynamics"], kept).max()
    assert len(kept.reward) / len(every.reward) == pytest.approx(0.7, abs=0.03)
    np.testing.assert_array_equal(
        kept.next_observation, every.next_observation[deviation <= limit + 1e-6]
    )
    other = delivered(0.3, transitions=2_000, chunk=70)
    np.testing.assert_array_equal(kept.next_observation, other.next_observation)


def test_the_ensemble_is_trained_only_for_the_filter(small_dataset):
    assert "dynamics" not in DAWM().models()
    source = replace(DAWM(), filter_share=0.1, dynamics=SMALL)
    assert source.models()["dynamics"] is SMALL
    batch = source.data("dynamics", small_dataset).sample(KEY, (3, 5))
    assert batch.reward.shape == (3, 5)


def test_dropping_all_is_refused():
    with pytest.raises(UserError, match=r"^DAWM.filter_share is 1.0; it must be a number of at"):
        DAWM(filter_share=1.0)
