"""Splitting a data set by episodes."""

import chex
import numpy as np
import pytest
from handmade import make_dataset, random_episode

from dawm_jax.data.holdout import hold_out, select


def episodes(count):
    rng = np.random.default_rng(0)
    return [random_episode(rng, 1 + i % 4, terminated=i % 3 == 0) for i in range(count)]


def facts(dataset):
    return (dataset.episodes, dataset.lengths, dataset.returns, dataset.terminated)


@pytest.mark.parametrize(
    ("count", "fraction", "held"),
    [(10, 0.3, 3), (10, 0.01, 1), (10, 1.0, 9), (2, 0.5, 1)],
)
def test_every_episode_is_in_one_part_only(count, fraction, held):
    dataset = make_dataset(episodes(count))
    rest, check = hold_out(dataset, fraction)
    assert (len(rest.lengths), len(check.lengths)) == (count - held, held)
    assert sorted([*rest.returns, *check.returns]) == sorted(dataset.returns)


def test_selected_episodes_keep_their_rows():
    dataset, chosen = make_dataset(episodes(6), return_scale=3.0), [0, 2, 3, 5]
    part = select(dataset, np.array(chosen))
    expected = make_dataset([episodes(6)[i] for i in chosen])
    chex.assert_trees_all_equal(facts(part), facts(expected))
    assert (part.return_scale, part.id) == (3.0, dataset.id)


def test_parts_are_the_selected_episodes_in_their_order():
    dataset = make_dataset(episodes(10))
    for part in hold_out(dataset, 0.3):
        chosen = np.flatnonzero(np.isin(dataset.returns, part.returns))
        chex.assert_trees_all_equal(facts(part), facts(select(dataset, chosen)))


def test_the_seed_determines_the_split():
    dataset = make_dataset(episodes(10))
    held = [hold_out(dataset, 0.3, seed)[1].returns for seed in (0, 0, 1)]
    np.testing.assert_array_equal(held[0], held[1])
    assert set(held[0]) != set(held[2])


def test_a_single_episode_is_not_split():
    dataset = make_dataset(episodes(1))
    rest, check = hold_out(dataset, 0.5)
    assert check is None
    chex.assert_trees_all_equal(facts(rest), facts(dataset))


def test_fraction_zero_holds_nothing_out():
    dataset = make_dataset(episodes(4))
    assert hold_out(dataset, 0.0) == (dataset, None)
