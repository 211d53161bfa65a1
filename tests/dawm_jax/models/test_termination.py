"""The termination model on ends of known rules, against a search for the best split in float64."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_motion import transitions
from references import float64

from dawm_jax.errors import UserError
from dawm_jax.models.termination import UNSPLIT, Ends, TerminationModel, best_splits
from dawm_jax.training.loop import fit, train

MODEL = TerminationModel()


def moves(count, seed=0):
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(count, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    return (
        observation,
        rng.uniform(-1, 1, (count, 2)),
        observation + 0.5 * rng.normal(size=(count, 3)),
    )


def outside(following):
    """A rule like that of a falling robot: about 3 % of `moves` are terminal."""
    return (following[:, 0] > 2.2) | (following[:, 1] < -20.0)


def far(following):
    """A rule of no single component: about 3 % of `moves` are terminal."""
    x = (following - [0.0, 5.0, 0.0]) / [1.1, 10.0, 0.5]
    return np.linalg.norm(x, axis=1) > 3.0


def never(following):
    return np.zeros(len(following), bool)


def always(following):
    return ~never(following)


def recorded(count, seed=0, rule=outside):
    observation, action, following = moves(count, seed)
    return transitions(observation, action, following, terminal=rule(following))


def trained_on(rows, model=MODEL):
    data = model.data(rows)
    return fit(model, model.init(jax.random.key(0), data), data, jax.random.key(1))


def precision_and_recall(state, rows):
    true = np.asarray(rows.discount) == 0.0
    predicted = np.asarray(jax.jit(MODEL.terminal)(state, rows.next_observation))
    both = (true & predicted).sum()
    return both / predicted.sum(), both / true.sum()


def test_the_limits_of_intervals_are_found():
    rows = recorded(20_000)
    state = trained_on(rows)
    split = np.asarray(state.threshold) < UNSPLIT
    assert split.sum() == 2
    limits = dict(zip(state.component[split].tolist(), state.threshold[split], strict=True))
    following = float64(rows.next_observation)
    for component, limit, sign in ((0, 2.2, 1.0), (1, -20.0, -1.0)):
        inside = following[:, component][sign * (following[:, component] - limit) < 0]
        assert sign * limits[component] > (sign * inside).max()
        assert abs(limits[component] - limit) < (0.02, 0.5)[component]
    precision, recall = precision_and_recall(state, recorded(20_000, seed=1))
    assert min(precision, recall) > 0.98


def test_a_rule_of_several_components_is_approximated():
    state = trained_on(recorded(50_000, rule=far))
    precision, recall = precision_and_recall(state, recorded(50_000, seed=1, rule=far))
    assert precision > 0.85
    assert recall > 0.65


def test_an_end_less_likely_than_not_is_not_predicted():
    def rule(following):
        chance = np.random.default_rng(2).uniform(size=len(following))
        return chance < np.where(following[:, 0] > 1.0, 0.9, 0.1)

    model = replace(MODEL, depth=1)
    rows = recorded(20_000, rule=rule)
    state = trained_on(rows, model)
    np.testing.assert_allclose(state.threshold, [1.0], atol=0.01)
    np.testing.assert_allclose(state.share, [0.1, 0.9], atol=0.02)
    expected = np.asarray(rows.next_observation)[:, 0] > float(state.threshold[0])
    np.testing.assert_array_equal(model.terminal(state, rows.next_observation), expected)


def gini(terminal):
    """The Gini impurity of a group, times its size."""
    share = terminal.mean() if len(terminal) else 0.0
    return len(terminal) * 2.0 * share * (1.0 - share)


def searched(states, terminal):
    """(impurity, component, threshold) of the best of all splits, in float64; None without one."""
    found = []
    for component, values in enumerate(float64(states).T):
        for low, high in pairwise(np.unique(values)):
            left = values <= low
            impurity = gini(terminal[left]) + gini(terminal[~left])
            found.append((impurity, component, (low + high) / 2))
    return min(found, default=None)


@pytest.mark.parametrize("seed", range(20))
def test_each_group_is_split_where_a_search_in_float64_splits_it(seed):
    rng = np.random.default_rng(seed)
    count, groups = int(rng.integers(1, 40)), 3
    states = rng.integers(-3, 4, (count, 2)).astype(np.float32)  # with ties
    terminal, group = rng.uniform(size=count) < 0.4, rng.integers(0, groups, count)
    component, threshold = best_splits(Ends(jnp.asarray(states), jnp.asarray(terminal)), group, 4)
    assert threshold[groups] == np.float32(UNSPLIT)  # a group without states
    for one in range(groups):
        own, ends = states[group == one], terminal[group == one]
        best, before = searched(own, ends), gini(ends)
        if best is None or best[0] > before - 1e-6:
            continue  # no split, or none that matters
        left = own[:, component[one]] <= float(threshold[one])
        np.testing.assert_allclose(gini(ends[left]) + gini(ends[~left]), best[0], atol=1e-5)
        assert float(threshold[one]) in {(a + b) / 2 for a in own.ravel() for b in own.ravel()}


def test_a_pure_group_is_not_split():
    data = Ends(jnp.arange(8.0)[:, None], jnp.repeat(jnp.array([True, False]), 4))
    group = np.repeat([0, 1], 4)
    np.testing.assert_array_equal(best_splits(data, group, 2)[1], np.full(2, np.float32(UNSPLIT)))


def test_adjacent_floats_are_separated():
    low = np.float32(0.7)
    high = np.nextafter(low, np.float32(1.0))
    states = np.repeat([low, high], 4)[:, None]
    data = Ends(jnp.asarray(states), jnp.asarray(states[:, 0] == low))
    state = fit(MODEL, MODEL.init(jax.random.key(0), data), data, jax.random.key(1))
    np.testing.assert_array_equal(MODEL.terminal(state, data.state), data.terminal)


def test_a_deeper_tree_keeps_the_splits_and_lowers_the_impurity():
    data = MODEL.data(recorded(2_000, rule=far))
    terminal = np.asarray(data.terminal)
    losses, splits = [gini(terminal) / len(terminal)], []
    for depth in (1, 2, 3):
        model = replace(MODEL, depth=depth)
        state = model.init(jax.random.key(0), data)
        ((_, tree, metrics),) = train(model, state, data, jax.random.key(1))
        assert (np.asarray(tree.threshold)[: len(splits)] == splits).all()
        splits = np.asarray(tree.threshold)
        losses.append(float(metrics["loss"]))
        leaf = np.zeros(len(terminal), int)  # walked node by node, in NumPy
        for row, values in enumerate(np.asarray(data.state)):
            node = 0
            while node < len(splits):
                over = values[tree.component[node]] > splits[node]
                node = 2 * node + 1 + int(over)
            leaf[row] = node - len(splits)
        expected = sum(gini(terminal[leaf == one]) for one in np.unique(leaf)) / len(terminal)
        np.testing.assert_allclose(losses[-1], expected, rtol=1e-4)
        for one in np.unique(leaf):
            np.testing.assert_allclose(tree.share[one], terminal[leaf == one].mean(), rtol=1e-6)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("rule", "expected"), [(never, False), (always, True)])
def test_a_class_without_data_is_never_predicted(rule, expected):
    state = trained_on(recorded(100, rule=rule))
    elsewhere = 1e4 * recorded(50, seed=1).next_observation
    np.testing.assert_array_equal(MODEL.terminal(state, elsewhere), np.full(50, expected))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_rows_suffice(count):
    rows = recorded(count, rule=lambda following: np.arange(len(following)) == 0)
    state = trained_on(rows)
    np.testing.assert_array_equal(
        MODEL.terminal(state, rows.next_observation), np.arange(count) == 0
    )


def test_any_leading_dimensions():
    rows = recorded(1_200)
    state = trained_on(rows)
    flat = MODEL.terminal(state, rows.next_observation)
    assert 0 < flat.sum() < len(flat)
    grid = MODEL.terminal(state, rows.next_observation.reshape(30, 40, -1))
    np.testing.assert_array_equal(grid.reshape(-1), flat)
    assert MODEL.terminal(state, rows.next_observation[0]) == flat[0]


@pytest.mark.parametrize("depth", [0, 17, 2_000])
def test_an_invalid_setting_is_named(depth):
    with pytest.raises(UserError, match=rf"TerminationModel\.depth is {depth}; .* from 1 to 16"):
        TerminationModel(depth=depth)
