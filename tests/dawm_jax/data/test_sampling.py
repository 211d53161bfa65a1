"""Batches of recorded and synthetic transitions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.errors import UserError
from dawm_jax.types import Transition


def numbered(count, recorded):
    """Transitions whose fields are functions of the row number."""
    row = jnp.arange(count, dtype=jnp.float32)
    return Transition(
        observation=jnp.stack([row, row + 0.5], axis=1),
        action=10.0 * row[:, None],
        reward=row,
        discount=row / 100.0,
        next_observation=jnp.stack([row + 1.0, row + 1.5], axis=1),
        next_action=10.0 * row[:, None] + 1.0,
        next_action_mask=row % 2 == 0,
        recorded=jnp.full(count, recorded),
    )


draw = jax.jit(TransitionSet.sample, static_argnums=2)
RECORDED, SYNTHETIC = numbered(20, recorded=True), numbered(30, recorded=False)


@pytest.mark.parametrize(
    ("shape", "ratio", "synthetic"),
    [
        ((10,), 0.0, 0),
        ((10,), 0.04, 0),
        ((10,), 0.2, 2),  # 2.5
        ((3, 10), 0.25, 3),  # 3.33
        ((3, 10), 0.5, 10),
        ((3, 10), 0.75, 30),
    ],
)
def test_synthetic_rows_come_on_top_of_the_recorded_ones(shape, ratio, synthetic):
    batch = draw(TransitionSet(RECORDED, SYNTHETIC, ratio), jax.random.key(0), shape)
    expected = np.broadcast_to(np.arange(10 + synthetic) < 10, (*shape[:-1], 10 + synthetic))
    np.testing.assert_array_equal(batch.recorded, expected)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan")])
def test_a_ratio_without_recorded_rows_is_refused(ratio):
    with pytest.raises(UserError, match=f"synthetic_ratio is {ratio}; it must be at least 0 and"):
        TransitionSet(RECORDED, SYNTHETIC, ratio)


@pytest.mark.parametrize("data", [TransitionSet(RECORDED), TransitionSet(RECORDED, SYNTHETIC, 0.5)])
@pytest.mark.parametrize("shape", [(8,), (2, 8)])
def test_every_row_of_a_batch_is_a_row_of_the_data(data, shape):
    batch = draw(data, jax.random.key(0), shape)
    rows = jax.tree.map(lambda leaf: leaf[batch.reward.astype(int)], SYNTHETIC)
    chex.assert_trees_all_equal(batch.replace(recorded=rows.recorded), rows)
    every = 8 if data.synthetic is None else 16
    chex.assert_shape(batch.observation, (*shape[:-1], every, 2))


def test_without_synthetic_data_all_rows_are_recorded():
    batch = draw(TransitionSet(RECORDED, None, 0.5), jax.random.key(0), (64,))
    assert batch.recorded.all()


@pytest.mark.parametrize("shape", [(6000,), (2, 3000)])
def test_rows_are_drawn_uniformly_from_each_part(shape):
    """Counts stay within five standard deviations of the binomial distribution."""
    batch = draw(TransitionSet(RECORDED, SYNTHETIC, 0.25), jax.random.key(1), shape)
    for part, rows, drawn in ((batch.recorded, 20, 6000), (~batch.recorded, 30, 2000)):
        counts = np.bincount(np.asarray(batch.reward[part], int), minlength=rows)
        assert len(counts) == rows
        deviation = np.sqrt(drawn / rows * (1 - 1 / rows))
        np.testing.assert_allclose(counts, drawn / rows, atol=5 * deviation)


def test_a_batch_and_its_parts_are_drawn_independently():
    data = TransitionSet(numbered(1000, recorded=True), numbered(1000, recorded=False), 0.5)
    first, second = (draw(data, jax.random.key(i), (2, 200)).reward for i in range(2))
    halves = np.asarray(jnp.stack([first, second]).reshape(-1, 200))  # of each part
    assert np.abs(np.corrcoef(halves) - np.eye(8)).max() < 0.35
