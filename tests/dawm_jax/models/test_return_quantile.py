"""The model of return quantiles: its loss against NumPy, and a known distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import mlp, silu
from scipy.stats import norm

from dawm_jax.errors import UserError
from dawm_jax.models.return_quantile import ReturnQuantile, ReturnRows
from dawm_jax.training.loop import fit

KEY = jax.random.key(0)


def known_rows(count, seed=0):
    """Return-to-go normal around 50 + 10 x + 5 a, with deviation 2 + x^2; x is of scale 100."""
    rng = np.random.default_rng(seed)
    x, action = rng.uniform(-1.0, 1.0, (2, count, 1))
    mean, deviation = (50.0 + 10.0 * x + 5.0 * action)[:, 0], (2.0 + x**2)[:, 0]
    to_go = mean + deviation * rng.normal(size=count)
    arrays = [jnp.asarray(array, jnp.float32) for array in (100.0 * x, action, to_go)]
    return ReturnRows(*arrays), mean, deviation


@pytest.mark.parametrize(("level", "layer_norm"), [(0.1, False), (0.9, True)])
def test_the_loss_is_the_pinball_loss(level, layer_norm):
    rows, _, _ = known_rows(50)
    model = ReturnQuantile(level=level, hidden=(8, 4), layer_norm=layer_norm)
    state = model.init(KEY, rows)
    x, action, to_go = (np.asarray(a, np.float64) for a in jax.tree.leaves(rows))
    inputs = np.concatenate([(x - x.mean()) / x.std(), action], axis=1)
    quantile = mlp(state.params["params"], inputs, silu)[:, 0]
    error = (to_go - to_go.mean()) / to_go.std() - quantile
    expected = np.where(error >= 0, level * error, (1.0 - level) * -error).mean()
    assert expected > 0.0
    np.testing.assert_allclose(model.loss(state.params, state, rows), expected, rtol=1e-5)
    found = model.predict(state, rows.observation, rows.action)
    np.testing.assert_allclose(found, quantile * to_go.std() + to_go.mean(), rtol=1e-5)


@pytest.mark.parametrize("level", [0.2, 0.9])
def test_the_quantile_of_a_known_distribution_is_learnt(level):
    rows, _, _ = known_rows(20_000)
    model = ReturnQuantile(level=level, hidden=(32,), steps=1_000, learning_rate=3e-3)
    state = fit(model, model.init(KEY, rows), rows, jax.random.key(1))
    others, mean, deviation = known_rows(4_000, seed=1)
    found = np.asarray(model.predict(state, others.observation, others.action))
    expected = mean + deviation * norm.ppf(level)
    # Off by little beside the deviation, which is at least 2; without the input, by 6.
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.4
    for half in (np.asarray(others.observation[:, 0]) > 0.0, deviation > 2.5):
        assert np.mean(np.asarray(others.return_to_go)[half] < found[half]) == pytest.approx(
            level, abs=0.04
        )


def test_rows_are_the_recorded_steps_with_their_return_in_units_of_the_scale(small_dataset):
    rows = ReturnRows.of(small_dataset)
    episodes = small_dataset.episodes
    recorded = np.asarray(episodes.steps_left) > 0
    for name in ("observation", "action"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(episodes, name)[recorded])
    np.testing.assert_allclose(rows.return_to_go, episodes.return_to_go[recorded] / 2.0)
    batch = rows.sample(KEY, (5, 400))
    assert batch.action.shape == (5, 400, 2)
    # A row stays together, and all are drawn.
    match = np.argmin(np.abs(batch.return_to_go[..., None] - rows.return_to_go), axis=-1)
    np.testing.assert_array_equal(batch.action, rows.action[match])
    assert len(np.unique(match)) == small_dataset.transitions


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_level_out_of_range_is_named(level):
    with pytest.raises(UserError, match=f"^ReturnQuantile.level is {level}"):
        ReturnQuantile(level=level)
