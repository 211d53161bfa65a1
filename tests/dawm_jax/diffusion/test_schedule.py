import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.diffusion.schedule import (
    SCHEDULES,
    Cosine,
    Elucidated,
    RectifiedFlow,
    cosine_signal_rate,
    visited_steps,
)
from dawm_jax.errors import UserError


def curve(time):
    return np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2


@pytest.mark.parametrize("steps", [5, 10, 1000])
def test_signal_rate_is_the_normalized_cosine_up_to_the_capped_last_step(steps):
    rate = cosine_signal_rate(steps)
    expected = curve(np.arange(steps) / steps) / curve(0.0)
    np.testing.assert_allclose(rate[:-1], expected, rtol=1e-9)
    np.testing.assert_allclose(rate[-1], expected[-1] * 0.001, rtol=1e-9)


def test_last_signal_rate_of_five_steps_matches_the_published_one():
    rate = cosine_signal_rate(5)[-1]
    assert rate == pytest.approx(9.4e-5, rel=1e-2)
    assert np.sqrt((1 - rate) / rate) == pytest.approx(103, rel=1e-2)


def test_beta_is_capped_at_its_limit():
    rate = cosine_signal_rate(20, max_beta=0.3)
    beta = 1 - rate[1:] / rate[:-1]
    uncapped = 1 - curve(np.arange(1, 21) / 20) / curve(np.arange(20) / 20)
    np.testing.assert_allclose(beta, np.minimum(uncapped, 0.3))
    assert (uncapped > 0.3).sum() > 1


@pytest.mark.parametrize(
    ("steps", "sampling_steps", "expected"),
    [
        (5, 3, [1, 3, 5]),
        (5, 2, [1, 5]),
        (5, 1, [5]),
        (10, 5, [1, 3, 5, 8, 10]),
        (1, 1, [1]),
        (4, 4, [1, 2, 3, 4]),
    ],
)
def test_visited_steps_match_the_published_ones(steps, sampling_steps, expected):
    assert visited_steps(steps, sampling_steps).tolist() == expected


def test_visited_steps_are_distinct_and_include_both_ends():
    for steps in range(2, 31):
        for sampling_steps in range(2, steps + 1):
            visited = visited_steps(steps, sampling_steps)
            assert len(visited) == sampling_steps
            assert (np.diff(visited) > 0).all()
            assert (visited[0], visited[-1]) == (1, steps)


def noise_to_signal(schedule, time):
    with np.errstate(divide="ignore"):
        return np.asarray(schedule.sigma(time)) / np.asarray(schedule.alpha(time))


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_grid_descends_from_the_noisiest_time_to_clean_data(name, count):
    schedule = SCHEDULES[name]()
    grid = schedule.grid(count)
    assert grid.shape == (count + 1,)
    assert (np.diff(noise_to_signal(schedule, grid)) < 0).all()
    assert (schedule.alpha(grid)[-1], schedule.sigma(grid)[-1]) == (1.0, 0.0)
    assert grid[0] == pytest.approx({"cosine": 5, "elucidated": 80.0, "flow": 1.0}[name])


@pytest.mark.parametrize("name", SCHEDULES)
def test_training_times_are_noised_and_distinct_for_the_network(name):
    schedule = SCHEDULES[name]()
    time = schedule.draw(jax.random.key(0), 4000)
    order = np.argsort(time)
    ratio = noise_to_signal(schedule, time)[order]
    clock = np.asarray(schedule.clock(time))[order]
    assert time.shape == (4000,)
    assert np.isfinite(ratio).all()
    assert (ratio >= 0).all()
    assert (np.diff(ratio) >= 0).all()
    assert ((np.diff(clock) > 0) == (np.diff(ratio) > 0)).mean() > 0.99


@pytest.mark.parametrize("name", SCHEDULES)
def test_alpha_and_sigma_are_float64_on_the_host_and_the_same_in_a_program(name):
    schedule = SCHEDULES[name]()
    grid = schedule.grid(5)
    device = jnp.asarray(grid, jnp.int32 if name == "cosine" else jnp.float32)
    for of in (schedule.alpha, schedule.sigma):
        host = of(grid)
        program = jax.jit(of)(device)
        assert (host.dtype, program.dtype) == (np.float64, np.float32)
        np.testing.assert_allclose(program, host, rtol=1e-6, atol=1e-12)


def test_cosine_preserves_the_variance_and_draws_every_step():
    schedule, steps = Cosine(5), np.arange(6)
    np.testing.assert_allclose(schedule.alpha(steps) ** 2 + schedule.sigma(steps) ** 2, 1.0)
    np.testing.assert_allclose(schedule.alpha(steps), np.sqrt(cosine_signal_rate(5)))
    counts = np.bincount(schedule.draw(jax.random.key(0), 5000), minlength=6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 5 * np.sqrt(1000)


def test_elucidated_grid_by_hand():
    # The square roots of sigma are 2, 1.1, 0.2.
    schedule = Elucidated(sigma_min=0.04, sigma_max=4.0, rho=2.0)
    np.testing.assert_allclose(schedule.grid(3), [4.0, 1.21, 0.04, 0.0])
    np.testing.assert_allclose(Elucidated().grid(2), [80.0, 0.002, 0.0])


def test_elucidated_draws_the_logarithm_of_sigma_from_a_gaussian():
    schedule = Elucidated(noise_mean=-0.4, noise_deviation=0.7)
    logarithm = np.log(np.asarray(schedule.draw(jax.random.key(0), 20_000), np.float64))
    assert logarithm.mean() == pytest.approx(-0.4, abs=4 * 0.7 / np.sqrt(20_000))
    assert logarithm.std() == pytest.approx(0.7, rel=0.03)
    # A Gaussian has 68.3 % of its mass within one standard deviation.
    assert (np.abs(logarithm + 0.4) < 0.7).mean() == pytest.approx(0.683, abs=0.015)


def test_a_flow_is_straight_and_its_times_are_uniform():
    schedule = RectifiedFlow()
    np.testing.assert_allclose(schedule.grid(4), [1.0, 0.75, 0.5, 0.25, 0.0])
    np.testing.assert_allclose(schedule.alpha(schedule.grid(4)), [0.0, 0.25, 0.5, 0.75, 1.0])
    time = np.sort(schedule.draw(jax.random.key(0), 20_000))
    # The largest distance of the empirical distribution function to the uniform one.
    assert np.abs(time - np.arange(20_000) / 20_000).max() < 2 / np.sqrt(20_000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(0), "Cosine.diffusion_steps is 0"),
        (lambda: Cosine(5).grid(6), "sampling_steps is 6.*diffusion_steps, 5"),
        (lambda: Elucidated(sigma_max=0.5), "Elucidated.sigma_max is 0.5"),
        (lambda: Elucidated(sigma_min=0.0), "Elucidated.sigma_min is 0.0"),
        (lambda: Elucidated(rho=0.0), "Elucidated.rho is 0.0"),
        (lambda: Elucidated(noise_deviation=0.0), "Elucidated.noise_deviation is 0.0"),
        (lambda: Elucidated(noise_mean=float("nan")), "Elucidated.noise_mean is nan"),
    ],
)
def test_an_invalid_setting_is_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
