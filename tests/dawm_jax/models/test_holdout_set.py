import jax
import numpy as np
import pytest
from linear_motion import linear_motion

from dawm_jax.models.holdout_set import HoldoutSet, take


@pytest.mark.parametrize(("most", "expected"), [(1_000, 20), (5, 5), (1, 1)])
def test_a_fifth_is_held_out_up_to_a_limit(most, expected):
    data = HoldoutSet.of(linear_motion(100), most)
    assert len(data.held_out) == expected
    assert sorted([*data.rows.tolist(), *data.held_out.tolist()]) == list(range(100))
    again = HoldoutSet.of(linear_motion(100), most)
    np.testing.assert_array_equal(data.held_out, again.held_out)


@pytest.mark.parametrize("shape", [(7,), (3, 64)])
def test_batches_are_drawn_from_the_training_rows(shape):
    rows = linear_motion(100)
    rows = rows.replace(reward=np.arange(100.0, dtype=np.float32))
    data = HoldoutSet.of(rows, 50)
    sample = jax.jit(HoldoutSet.sample, static_argnames="shape")
    numbers = np.asarray(sample(data, jax.random.key(0), shape).reward).astype(int)
    assert numbers.shape == shape
    assert not np.isin(numbers, data.held_out).any()
    assert len(np.unique(numbers)) > min(numbers.size, 80) / 2
    if len(shape) > 1:
        assert (numbers[0] != numbers[1]).any()
    other = np.asarray(sample(data, jax.random.key(1), shape).reward).astype(int)
    assert (numbers != other).any()


def test_a_single_row_is_both_trained_on_and_held_out():
    data = HoldoutSet.of(linear_motion(1), 10)
    assert data.rows.tolist() == [0]
    assert data.held_out.tolist() == [0]


def test_take_returns_the_rows_at_an_index():
    rows = linear_motion(6)
    taken = take(rows, np.array([4, 1]))
    np.testing.assert_array_equal(taken.action, np.asarray(rows.action)[[4, 1]])
    np.testing.assert_array_equal(taken.discount, np.asarray(rows.discount)[[4, 1]])
