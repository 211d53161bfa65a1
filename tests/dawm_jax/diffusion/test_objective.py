import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.diffusion.objective import PARAMETERIZATIONS, add_noise


def test_add_noise_by_hand():
    assert add_noise(jnp.float32(1.0), jnp.float32(2.0), jnp.float32(0.64)) == pytest.approx(2.0)


@pytest.mark.parametrize(("name", "expected"), [("epsilon", 2.0), ("x0", 1.0), ("v", 1.0)])
def test_target_by_hand(name, expected):
    x0, noise, rate = jnp.float32(1.0), jnp.float32(2.0), jnp.float32(0.64)
    assert PARAMETERIZATIONS[name].target(x0, noise, rate) == pytest.approx(expected)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("rate", [0.9, 0.5, 0.1])
def test_clean_data_follow_from_the_target(name, rate):
    x0, noise = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    target, to_x0 = PARAMETERIZATIONS[name]
    recovered = to_x0(target(x0, noise, rate), add_noise(x0, noise, rate), rate)
    np.testing.assert_allclose(recovered, x0, atol=1e-5)
