import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.diffusion.guidance import condition_mask, guide


@pytest.mark.parametrize("dropout", [0.0, 0.25, 1.0])
def test_the_condition_is_hidden_with_probability_dropout(dropout):
    kept = condition_mask(jax.random.key(0), 20_000, dropout)
    deviation = np.sqrt(dropout * (1 - dropout) / 20_000)
    assert float(jnp.mean(~kept)) == pytest.approx(dropout, abs=4 * deviation)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.2, 3.0])
def test_guidance_mixes_both_predictions(scale):
    x = jnp.array([[1.0], [2.0]])
    predict = guide(lambda x, keep: jnp.where(keep[:, None], 10 * x, x + 1), scale)
    expected = scale * np.array([[10], [20]]) + (1 - scale) * np.array([[2], [3]])
    np.testing.assert_allclose(predict(x), expected, rtol=1e-5)


def test_scale_one_does_not_need_the_unconditional_prediction():
    predict = guide(lambda x, keep: jnp.where(keep, x, jnp.nan), 1.0)
    assert predict(jnp.arange(3.0)).tolist() == [0, 1, 2]
