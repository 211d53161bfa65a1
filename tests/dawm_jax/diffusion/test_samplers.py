import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.diffusion.samplers import SAMPLERS, ancestral, sample
from dawm_jax.diffusion.schedule import cosine_signal_rate, visited_steps

RATES = [(0.3, 0.8), (1e-4, 0.09), (0.95, 0.999)]


@pytest.mark.parametrize(("now", "before"), RATES)
def test_ancestral_is_the_bayesian_posterior(now, before):
    # Prior x_j ~ N(sqrt(before) x_0, 1 - before), likelihood x_k ~ N(sqrt(alpha) x_j, 1 - alpha).
    alpha = now / before
    precision = 1 / (1 - before) + alpha / (1 - alpha)
    from_x0 = np.sqrt(before) / (1 - before) / precision
    from_x = np.sqrt(alpha) / (1 - alpha) / precision
    expected = (from_x0, from_x, np.sqrt(1 / precision))
    np.testing.assert_allclose(ancestral(np.array(now), np.array(before)), expected)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("now", "before"), RATES)
def test_a_step_keeps_the_forward_marginal(sampler, now, before):
    from_x0, from_x, deviation = SAMPLERS[sampler](np.array(now), np.array(before))
    assert from_x0 + from_x * np.sqrt(now) == pytest.approx(np.sqrt(before))
    assert from_x**2 * (1 - now) + deviation**2 == pytest.approx(1 - before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_last_step_returns_the_estimate(sampler):
    from_x0, from_x, deviation = SAMPLERS[sampler](np.array(0.9), np.array(1.0))
    assert (from_x0, from_x, deviation) == pytest.approx((1, 0, 0))


def test_ddim_is_deterministic():
    assert SAMPLERS["ddim"](np.array([0.2, 0.5]), np.array([0.4, 0.9]))[2].tolist() == [0, 0]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sample_equals_a_plain_loop(sampler, temperature):
    draws = np.random.default_rng(0).normal(size=(4, 6))
    rate, steps = cosine_signal_rate(10), np.array([1, 4, 10])

    def estimate(x, step, rate, tanh):
        return tanh(x) * rate + 0.1 * step

    x = temperature * draws[0]
    for draw, (k, j) in enumerate([(10, 4), (4, 1), (1, 0)], start=1):
        from_x0, from_x, deviation = SAMPLERS[sampler](rate[k], rate[j])
        x = from_x0 * estimate(x, k, rate[k], np.tanh) + from_x * x
        x = x + temperature * deviation * draws[draw]

    sampled = sample(
        lambda x, step, rate: estimate(x, step, rate, jnp.tanh),
        lambda draw: jnp.asarray(draws, jnp.float32)[draw],
        rate,
        steps,
        sampler,
        temperature,
    )
    np.testing.assert_allclose(sampled, x, atol=1e-5)


def variance_kept(steps, sampling_steps, sampler, temperature=1.0):
    """Variance of what a perfect denoiser of standard normal data samples, from `sample` itself.

    Its samples are linear in the draws of noise: with unit vectors for draws the result lists the
    factors, whose squares add up to the variance.
    """
    visited = visited_steps(steps, sampling_steps)
    factors = sample(
        lambda x, step, rate: jnp.sqrt(rate) * x,
        lambda draw: jnp.eye(sampling_steps + 1)[draw],
        cosine_signal_rate(steps),
        visited,
        sampler,
        temperature,
    )
    return float(np.sum(np.asarray(factors, np.float64) ** 2))


def ancestral_closed_form(steps, sampling_steps, temperature):
    rate = cosine_signal_rate(steps)
    visited = [0, *visited_steps(steps, sampling_steps)]
    variance = temperature**2
    for k, j in zip(visited[:0:-1], visited[-2::-1], strict=True):
        alpha = rate[k] / rate[j]
        # With the estimate sqrt(rate_k) x_k the posterior's mean is sqrt(alpha) x_k.
        posterior = (1 - rate[j]) * (1 - alpha) / (1 - rate[k])
        variance = alpha * variance + temperature**2 * posterior
    return variance


@pytest.mark.parametrize(
    ("steps", "sampling_steps", "temperature", "published"),
    [(5, 3, 1.0, 0.31), (5, 3, 0.5, 0.08), (100, 100, 1.0, 0.95), (1000, 1000, 1.0, 0.995)],
)
def test_ancestral_sampling_of_a_gaussian_keeps_the_published_variance(
    steps, sampling_steps, temperature, published
):
    kept = variance_kept(steps, sampling_steps, "ancestral", temperature)
    closed_form = ancestral_closed_form(steps, sampling_steps, temperature)
    assert kept == pytest.approx(closed_form, rel=1e-3)
    assert kept == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize(("steps", "sampling_steps"), [(5, 3), (5, 5), (1000, 100)])
def test_ddim_sampling_of_a_gaussian_shrinks_by_the_cosine_of_each_turn(steps, sampling_steps):
    visited = np.concatenate([[0], visited_steps(steps, sampling_steps)])
    angle = np.arccos(np.sqrt(cosine_signal_rate(steps)[visited]))
    expected = np.prod(np.cos(np.diff(angle))) ** 2
    assert variance_kept(steps, sampling_steps, "ddim") == pytest.approx(expected, rel=1e-3)
