import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.diffusion.samplers import SAMPLERS, Sampling, ancestral, sample
from dawm_jax.diffusion.schedule import (
    SCHEDULES,
    Cosine,
    Elucidated,
    RectifiedFlow,
    cosine_signal_rate,
    visited_steps,
)

RATES = [(0.3, 0.8), (1e-4, 0.09), (0.95, 0.999)]
# alpha and sigma at a time and the next: variance preserving, exploding, a flow from pure noise.
PAIRS = [
    *(np.sqrt([[now, before], [1 - now, 1 - before]]) for now, before in RATES),
    np.array([[1.0, 1.0], [5.0, 0.7]]),
    np.array([[0.0, 0.4], [1.0, 0.6]]),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_ancestral_is_the_bayesian_posterior(pair):
    (alpha, alpha_next), (sigma, sigma_next) = pair
    # Prior x_s ~ N(alpha_s x_0, sigma_s^2), likelihood x_t ~ N(ratio x_s, the added variance).
    ratio = alpha / alpha_next
    added = sigma**2 - ratio**2 * sigma_next**2
    precision = 1 / sigma_next**2 + ratio**2 / added
    from_x0 = alpha_next / sigma_next**2 / precision
    from_x = ratio / added / precision
    expected = (from_x0, 0.0, from_x, np.sqrt(1 / precision))
    np.testing.assert_allclose(np.hstack(ancestral(*pair)), expected, atol=1e-12)


def grids():
    """alpha and sigma on a grid of each schedule."""
    for schedule in (Cosine(10), Elucidated(), RectifiedFlow()):
        times = schedule.grid(6)
        yield np.asarray(schedule.alpha(times)), np.asarray(schedule.sigma(times))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("grid", list(grids()), ids=SCHEDULES)
def test_a_step_preserves_the_forward_marginal(sampler, grid):
    alpha, sigma = grid
    from_x0, from_before, from_x, deviation = SAMPLERS[sampler](alpha, sigma)
    mean = from_x0 + from_before + from_x * alpha[:-1]  # where all estimates are x_0
    np.testing.assert_allclose(mean, alpha[1:])
    variance = from_x**2 * sigma[:-1] ** 2 + deviation**2
    np.testing.assert_allclose(variance, sigma[1:] ** 2, atol=1e-12)
    assert from_before[0] == 0.0
    assert (sampler == "ancestral") == bool(deviation.any())


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 6])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_last_step_returns_the_estimate(sampler, name, steps):
    schedule = Cosine(6) if name == "cosine" else SCHEDULES[name]()
    times = schedule.grid(steps)
    coefficients = SAMPLERS[sampler](schedule.alpha(times), schedule.sigma(times))
    assert [column[-1] for column in coefficients] == pytest.approx([1, 0, 0, 0])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sample_equals_a_plain_loop(sampler, temperature):
    draws = np.random.default_rng(0).normal(size=(4, 6))
    rate = cosine_signal_rate(10)
    alpha, sigma = np.sqrt(rate), np.sqrt(1 - rate)

    def estimate(x, step, alpha, sigma, tanh):
        return tanh(x) * alpha + 0.1 * step * sigma

    x, before = temperature * draws[0], None
    for draw, (k, j) in enumerate([(10, 4), (4, 1), (1, 0)], start=1):
        x0 = estimate(x, k, alpha[k], sigma[k], np.tanh)
        ratio = rate[k] / rate[j]
        if sampler == "ancestral":
            x = np.sqrt(rate[j]) * (1 - ratio) * x0 + np.sqrt(ratio) * (1 - rate[j]) * x
            deviation = np.sqrt((1 - rate[j]) * (1 - ratio) / (1 - rate[k]))
            x = x / (1 - rate[k]) + temperature * deviation * draws[draw]
        else:
            # The second of three steps is of second order: extrapolated by h_2 / (2 h_1).
            mixed = x0
            if sampler == "dpm_solver_2m" and k == 4:
                first, second, third = (np.log(alpha[i] / sigma[i]) for i in (10, 4, 1))
                mixed = x0 + (third - second) / (2 * (second - first)) * (x0 - before)
            noise = (x - alpha[k] * mixed) / sigma[k]
            x = alpha[j] * mixed + sigma[j] * noise
        before = x0

    sampled = sample(
        lambda x, step, alpha, sigma: estimate(x, step, alpha, sigma, jnp.tanh),
        lambda draw: jnp.asarray(draws, jnp.float32)[draw],
        Cosine(10),
        np.array([10, 4, 1, 0]),
        sampler,
        temperature,
    )
    np.testing.assert_allclose(sampled, x, atol=1e-5)


def factors(schedule, sampling_steps, sampler, temperature=1.0, variance=1.0):
    """The factor of each noise draw in a sample of the exact denoiser of a Gaussian.

    Such samples are linear in the draws, for which unit vectors stand here.
    """
    sampled = sample(
        lambda x, _, alpha, sigma: alpha * variance * x / (alpha**2 * variance + sigma**2),
        lambda draw: jnp.eye(sampling_steps + 1)[draw],
        schedule,
        schedule.grid(sampling_steps),
        sampler,
        temperature,
    )
    return np.asarray(sampled, np.float64)


def variance_kept(*sampling, **settings):
    """The variance of such samples."""
    return float(np.sum(factors(*sampling, **settings) ** 2))


@pytest.mark.parametrize(
    ("steps", "sampling_steps", "temperature", "published"),
    [(5, 3, 1.0, 0.31), (5, 3, 0.5, 0.08), (100, 100, 1.0, 0.95), (1000, 1000, 1.0, 0.995)],
)
def test_ancestral_sampling_of_a_gaussian_has_the_published_variance(
    steps, sampling_steps, temperature, published
):
    rate = cosine_signal_rate(steps)
    visited = [0, *visited_steps(steps, sampling_steps)]
    closed_form = temperature**2
    for k, j in zip(visited[:0:-1], visited[-2::-1], strict=True):
        alpha = rate[k] / rate[j]
        # With the estimate sqrt(rate_k) x_k the posterior's mean is sqrt(alpha) x_k.
        posterior = (1 - rate[j]) * (1 - alpha) / (1 - rate[k])
        closed_form = alpha * closed_form + temperature**2 * posterior
    kept = variance_kept(Cosine(steps), sampling_steps, "ancestral", temperature)
    assert kept == pytest.approx(closed_form, rel=1e-3)
    assert kept == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize("sampling_steps", [3, 40])
@pytest.mark.parametrize("schedule", [Elucidated(sigma_max=10.0), RectifiedFlow()])
def test_ancestral_sampling_of_a_gaussian_in_continuous_time(schedule, sampling_steps):
    times = schedule.grid(sampling_steps)
    alpha, sigma = np.asarray(schedule.alpha(times)), np.asarray(schedule.sigma(times))
    closed_form = alpha[0] ** 2 + sigma[0] ** 2
    for t, s in zip(range(sampling_steps), range(1, sampling_steps + 1), strict=True):
        total = alpha[t] ** 2 + sigma[t] ** 2
        # The mean of x_s given x_t is their covariance over the variance of x_t. The variance of
        # the posterior given x_0 is added, that of x_0 given x_t is not.
        gain = (alpha[s] * alpha[t] + alpha[t] / alpha[s] * sigma[s] ** 2) / total
        posterior = sigma[s] ** 2 * (1 - (alpha[t] * sigma[s] / (alpha[s] * sigma[t])) ** 2)
        closed_form = gain**2 * closed_form + posterior
    assert variance_kept(schedule, sampling_steps, "ancestral") == pytest.approx(
        closed_form, rel=1e-3
    )
    assert closed_form < 0.4 if sampling_steps == 3 else 0.8 < closed_form < 1.0


@pytest.mark.parametrize(
    ("schedule", "sampling_steps"),
    [
        (Cosine(5), 3),
        (Cosine(5), 5),
        (Cosine(1000), 100),
        (Elucidated(), 20),
        (RectifiedFlow(), 3),
        (RectifiedFlow(), 20),
    ],
)
def test_ddim_sampling_of_a_gaussian_shrinks_by_the_cosine_of_each_turn(schedule, sampling_steps):
    times = schedule.grid(sampling_steps)
    angle = np.arctan2(schedule.sigma(times), schedule.alpha(times))
    expected = np.prod(np.cos(np.diff(angle))) ** 2
    assert variance_kept(schedule, sampling_steps, "ddim") == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize(
    ("schedule", "sampling_steps"),
    [(Cosine(5), 3), (Cosine(1000), 40), (Elucidated(sigma_max=10.0), 20), (RectifiedFlow(), 20)],
)
def test_second_order_sampling_of_a_gaussian_by_its_recursion(
    schedule, sampling_steps, temperature
):
    """Algorithm 2 of Lu et al. 2022, on the factor of the starting noise."""
    times = schedule.grid(sampling_steps)
    alpha, sigma = np.asarray(schedule.alpha(times)), np.asarray(schedule.sigma(times))
    x = temperature * np.hypot(alpha[0], sigma[0])
    estimates = []
    for t in range(sampling_steps - 1):
        estimates.append(alpha[t] * x / (alpha[t] ** 2 + sigma[t] ** 2))
        mixed = estimates[-1]
        snr = [alpha[i] / sigma[i] for i in (t + 1, t, max(t - 1, 0))]
        if t > 0 and snr[2] > 0:
            ratio = np.log(snr[1] / snr[2]) / np.log(snr[0] / snr[1])
            mixed = (1 + 0.5 / ratio) * estimates[-1] - 0.5 / ratio * estimates[-2]
        x = sigma[t + 1] / sigma[t] * x - alpha[t + 1] * (snr[1] / snr[0] - 1) * mixed
    x = alpha[-2] * x / (alpha[-2] ** 2 + sigma[-2] ** 2)
    kept = variance_kept(schedule, sampling_steps, "dpm_solver_2m", temperature)
    assert kept == pytest.approx(x**2, rel=1e-3)
    if sampling_steps >= 20:  # the exact flow keeps all of the variance
        assert kept == pytest.approx(temperature**2, rel=0.05)


@pytest.mark.parametrize(
    ("sampler", "schedule", "sampling_steps", "least", "most"),
    [
        ("ddim", Elucidated(sigma_max=10.0), 16, 1.9, 2.1),
        ("dpm_solver_2m", Elucidated(sigma_max=10.0), 16, 3.8, 5.0),
        ("dpm_solver_2m", Cosine(1000), 32, 3.8, 5.0),
        ("ddim", RectifiedFlow(), 64, 1.9, 2.1),
        ("dpm_solver_2m", RectifiedFlow(), 64, 3.0, 5.0),  # up to a logarithm of the steps
    ],
)
def test_the_error_falls_by_the_order_when_the_steps_double(
    sampler, schedule, sampling_steps, least, most
):
    """Against the exact flow of Gaussian data of variance 1/4, which scales x by its deviation."""
    start = schedule.grid(1)[:1]
    alpha, sigma = float(schedule.alpha(start)[0]), float(schedule.sigma(start)[0])
    exact = 0.5 * np.hypot(alpha, sigma) / np.hypot(0.5 * alpha, sigma)
    error = [
        abs(factors(schedule, count, sampler, variance=0.25)[0] / exact - 1.0)
        for count in (sampling_steps, 2 * sampling_steps)
    ]
    assert least < error[0] / error[1] < most


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_sample_from_noised_data_of_a_gaussian(sampler, share, name):
    """The exact denoiser of data of variance v, on a fine grid from time t on.

    With r^2 = alpha^2 v / (alpha^2 v + sigma^2) at t, data and sample have the covariance r^2 v if
    the sample is drawn from the posterior given the noised data, and r v if it is a function of
    them that keeps the distribution. Samples have the variance v.
    """
    schedule, variance = Cosine(400) if name == "cosine" else SCHEDULES[name](), 0.5
    times = schedule.grid(400)[-1 - int(share * 400) :]
    alpha, sigma = (float(of(times)[0]) for of in (schedule.alpha, schedule.sigma))
    count = len(times) + 1
    of_data, *of_draws = np.asarray(  # linear in the data and the draws: unit vectors
        sample(
            lambda x, _, alpha, sigma: alpha * variance * x / (alpha**2 * variance + sigma**2),
            lambda draw: jnp.eye(count)[draw + 1],
            schedule,
            times,
            sampler,
            1.0,
            jnp.eye(count)[0],
        ),
        np.float64,
    )
    kept = alpha**2 * variance / (alpha**2 * variance + sigma**2)
    assert of_data == pytest.approx(kept if sampler == "ancestral" else np.sqrt(kept), abs=0.01)
    assert of_data**2 * variance + np.sum(np.square(of_draws)) == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_no_visited_time_leaves_the_data_as_they_are(sampler, name):
    schedule = SCHEDULES[name]()
    recorded = jnp.arange(4.0)
    arguments = (schedule, schedule.grid(5)[-1:], sampler, 1.75, recorded)
    found = sample(lambda x, *_: 0.0 * x, lambda draw: jnp.ones(4), *arguments)
    np.testing.assert_array_equal(found, recorded)


@pytest.mark.parametrize(
    ("start", "steps", "remaining"),
    [(1.0, 5, 5), (0.5, 5, 3), (0.5, 16, 8), (0.7, 10, 7), (0.05, 5, 0), (0.0, 5, 0)],
)
def test_the_share_of_the_visited_times(start, steps, remaining):
    assert Sampling(start=start, sampling_steps=steps).remaining == remaining
