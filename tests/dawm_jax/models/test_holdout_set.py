import jax
import numpy as np
import pytest
from linear_motion import linear_motion

from dawm_jax.models.holdout_set import HoldoutSet, take

GROUP = np.arange(100) % 10 == 3  # 10 rows of 100


@pytest.mark.parametrize(("most", "expected"), [(1_000, (18, 2)), (5, (5, 2)), (1, (1, 1))])
def test_a_fifth_of_each_group_is_held_out_up_to_a_limit(most, expected):
    data = HoldoutSet.of(linear_motion(100), most, GROUP)
    for rows, label, count in zip(data.groups, (False, True), expected, strict=True):
        held_out = np.asarray([row for row in data.held_out if GROUP[row] == label])
        assert len(held_out) == count
        assert sorted([*rows, *held_out]) == np.flatnonzero(label == GROUP).tolist()
    again = HoldoutSet.of(linear_motion(100), most, GROUP)
    np.testing.assert_array_equal(data.held_out, again.held_out)


@pytest.mark.parametrize("shape", [(7,), (3, 64)])
@pytest.mark.parametrize("group", [None, GROUP])
def test_batches_draw_equally_from_each_group_and_no_held_out_rows(shape, group):
    rows = linear_motion(100)
    rows = rows.replace(reward=np.arange(100.0, dtype=np.float32))
    data = HoldoutSet.of(rows, 50, group)
    sample = jax.jit(HoldoutSet.sample, static_argnames="shape")
    numbers = np.asarray(sample(data, jax.random.key(0), shape).reward).astype(int)
    assert numbers.shape == shape
    assert not np.isin(numbers, data.held_out).any()
    if group is not None:
        shares = GROUP[numbers].sum(axis=-1)
        assert np.isin(shares, [shape[-1] // 2, -(-shape[-1] // 2)]).all()
    assert len(np.unique(numbers)) > min(numbers.size, 40) / 2
    if len(shape) > 1:
        assert (numbers[0] != numbers[1]).any()
    other = np.asarray(sample(data, jax.random.key(1), shape).reward).astype(int)
    assert (numbers != other).any()


def test_a_single_row_is_both_trained_on_and_held_out():
    data = HoldoutSet.of(linear_motion(1), 10)
    assert [rows.tolist() for rows in data.groups] == [[0]]
    assert data.held_out.tolist() == [0]


def test_take_returns_the_rows_at_an_index():
    rows = linear_motion(6)
    taken = take(rows, np.array([4, 1]))
    np.testing.assert_array_equal(taken.action, np.asarray(rows.action)[[4, 1]])
    np.testing.assert_array_equal(taken.discount, np.asarray(rows.discount)[[4, 1]])
