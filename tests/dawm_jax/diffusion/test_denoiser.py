from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.diffusion.denoiser import Diffusion, denoise, denoising_loss
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.diffusion.schedule import SCHEDULES
from dawm_jax.errors import UserError

FITTING = [
    ("cosine", "epsilon"),
    ("cosine", "x0"),
    ("cosine", "v"),
    ("cosine", "velocity"),
    ("cosine", "preconditioned"),
    ("elucidated", "preconditioned"),
    ("flow", "x0"),
    ("flow", "v"),
    ("flow", "velocity"),
    ("flow", "preconditioned"),
]


def levels(schedule, time):
    """alpha and sigma in float64, from the schedules' definitions."""
    if schedule == "cosine":
        steps = np.arange(6) / 5
        curve = np.cos((steps + 0.008) / 1.008 * np.pi / 2) ** 2
        rate = np.append(curve[:-1] / curve[0], curve[-2] / curve[0] * 0.001)[time]
        return np.sqrt(rate), np.sqrt(1 - rate)
    time = np.asarray(time, np.float64)
    return (np.ones_like(time), time) if schedule == "elucidated" else (1 - time, time)


def regressed(parameterization, x0, noise, alpha, sigma, library=np):
    """The targets as the papers write them."""
    x = alpha * x0 + sigma * noise
    total = alpha**2 + sigma**2
    return {
        "epsilon": noise,
        "x0": x0,
        "v": alpha * noise - sigma * x0,
        "velocity": noise - x0,
        "preconditioned": (x0 - alpha / total * x) / (sigma / library.sqrt(total)),
    }[parameterization]


@pytest.mark.parametrize(("schedule", "parameterization"), FITTING)
def test_loss_against_numpy(schedule, parameterization):
    diffusion = Diffusion(schedule=schedule, parameterization=parameterization)
    rng = np.random.default_rng(0)
    x0 = rng.normal(size=(16, 4, 3))
    mask = rng.uniform(size=x0.shape) < 0.6
    key = jax.random.key(3)
    seen = {}

    def predict(x, clock, keep):
        seen.update(x=x, clock=clock, keep=keep)
        return 0.5 * x + keep[:, None, None]

    loss = denoising_loss(diffusion, predict, jnp.float32(x0), jnp.asarray(mask), key)

    time_key, noise_key, keep_key = jax.random.split(key, 3)
    time = np.asarray(SCHEDULES[schedule]().draw(time_key, 16))
    noise = np.asarray(jax.random.normal(noise_key, x0.shape), np.float64)
    keep = np.asarray(jax.random.bernoulli(keep_key, 0.75, (16,)))
    alpha, sigma = (level[:, None, None] for level in levels(schedule, time))
    x = alpha * x0 + sigma * noise
    if parameterization == "preconditioned":
        x = x / np.sqrt(alpha**2 + sigma**2)
    target = regressed(parameterization, x0, noise, alpha, sigma)
    expected = ((0.5 * x + keep[:, None, None] - target) ** 2)[mask].mean()
    clock = {"cosine": time, "elucidated": np.log(time) / 4, "flow": 1000 * time}[schedule]
    assert 0 < keep.sum() < 16
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(seen["x"], x, atol=1e-5)
    np.testing.assert_allclose(seen["clock"], clock, rtol=1e-5)


def test_elucidated_loss_is_the_weighted_error_of_the_denoised_data():
    """Equation 2 of Karras et al. 2022 with their weight, (sigma^2 + 1) / sigma^2 here."""
    diffusion = Diffusion(schedule="elucidated", parameterization="preconditioned")
    x0 = np.random.default_rng(0).normal(size=(32, 4, 3))
    key = jax.random.key(0)
    ones = jnp.ones(x0.shape, bool)
    loss = denoising_loss(diffusion, lambda x, *_: jnp.sin(x), jnp.float32(x0), ones, key)

    time_key, noise_key, _ = jax.random.split(key, 3)
    normal = np.asarray(jax.random.normal(time_key, (32,)), np.float64)
    sigma = np.exp(-1.2 + 1.2 * normal)[:, None, None]
    x = x0 + sigma * np.asarray(jax.random.normal(noise_key, x0.shape), np.float64)
    output = np.sin(x / np.sqrt(sigma**2 + 1))
    denoised = x / (sigma**2 + 1) + sigma / np.sqrt(sigma**2 + 1) * output
    expected = np.mean((sigma**2 + 1) / sigma**2 * (denoised - x0) ** 2)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def perfect(schedule, parameterization):
    """The network that is exact for standard normal data, in terms of its scaled input."""

    def predict(x, clock, keep):
        del keep
        if schedule == "cosine":
            table = (jnp.float32(level) for level in levels(schedule, np.arange(6)))
            alpha, sigma = (level[clock.astype(int)][:, None, None] for level in table)
        else:
            time = (jnp.exp(4 * clock) if schedule == "elucidated" else clock / 1000)[:, None, None]
            alpha, sigma = (1.0 if schedule == "elucidated" else 1 - time), time
        total = alpha**2 + sigma**2  # E[x_0 | x] = alpha x / total, and E[noise | x] likewise
        if parameterization == "preconditioned":
            x = x * jnp.sqrt(total)
        return regressed(parameterization, alpha * x / total, sigma * x / total, alpha, sigma, jnp)

    return predict


@pytest.mark.parametrize("schedule", ["cosine", "flow"])
def test_exact_predictions_of_all_parameterizations_sample_the_same(schedule):
    keys = jax.random.split(jax.random.key(0), 8)

    @jax.jit
    def samples():
        return [
            denoise(
                Diffusion(schedule=schedule, parameterization=kind),
                perfect(schedule, kind),
                lambda x0: jnp.clip(x0, -1.5, 1.5),
                keys,
                (4, 3),
                Sampling(temperature=0.8),
            )
            for fitting, kind in FITTING
            if fitting == schedule
        ]

    first, *others = samples()
    assert first.shape == (8, 4, 3)
    assert 0.1 < np.std(first) < 1.0
    assert len(others) >= 3
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-4)


@pytest.mark.parametrize("schedule", ["elucidated", "flow"])
def test_samples_of_an_exact_denoiser_have_the_variance_of_the_data(schedule):
    diffusion = Diffusion(schedule=schedule, parameterization="preconditioned")
    sampling = Sampling(sampling_steps=40, sampler="dpm_solver_2m", temperature=1.0)
    keys = jax.random.split(jax.random.key(0), 2000)
    predict = perfect(schedule, "preconditioned")

    @jax.jit
    def samples():
        return denoise(diffusion, predict, lambda x0: x0, keys, (2, 2), sampling)

    sampled = np.asarray(samples(), np.float64)
    assert sampled.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / sampled.size) + 0.03)
    assert np.abs(sampled.mean()) < 4 / np.sqrt(sampled.size)
    assert np.abs(np.corrcoef(sampled.reshape(2000, 4).T) - np.eye(4)).max() < 0.1


def test_settings_are_passed_to_the_schedule():
    settings = {"noise_mean": -0.4, "noise_deviation": 1.0, "sigma_min": 0.01, "sigma_max": 20.0}
    diffusion = Diffusion(
        schedule="elucidated", parameterization="preconditioned", rho=5.0, **settings
    )
    process = diffusion.process
    assert {f.name: getattr(process, f.name) for f in fields(process)} == {**settings, "rho": 5.0}
    assert Diffusion(diffusion_steps=7).process.diffusion_steps == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin'.*Did you mean 'cosine'"),
        ({"parameterization": "eps"}, "unknown parameterization 'eps'"),
        (
            {"schedule": "flow", "parameterization": "epsilon"},
            "'epsilon' does not fit.*'flow'.*Use",
        ),
        ({"schedule": "elucidated"}, "'x0' does not fit.*'elucidated'.*Use 'preconditioned'"),
        ({"sigma_max": 10.0}, "sigma_max is 10.0.*'cosine' does not use.*'elucidated'"),
        ({"schedule": "flow", "diffusion_steps": 9}, "diffusion_steps is 9.*'flow' does not"),
        ({"sigma_min": 1.0}, "Diffusion.sigma_min is 1.0; it must be a number from 1e-06 to 0.1"),
        ({"rho": float("nan")}, "Diffusion.rho is nan"),
        ({"condition_dropout": 1.0}, "Diffusion.condition_dropout is 1.0"),
    ],
)
def test_an_invalid_setting_is_named(settings, message):
    with pytest.raises(UserError, match=message):
        Diffusion(**settings)


def test_more_steps_than_the_schedule_has_are_rejected():
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(UserError, match=r"sampling_steps is 6.*diffusion_steps, 5"):
        denoise(Diffusion(), None, None, keys, (2, 2), Sampling(sampling_steps=6))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_recorded_data_are_noised_as_much_as_the_remaining_times_undo(schedule):
    """The first estimate sees the data at the first of the last three times of five."""
    parameterization = "x0" if schedule != "elucidated" else "preconditioned"
    diffusion = Diffusion(schedule=schedule, parameterization=parameterization)
    sampling, seen = Sampling(start=0.6, temperature=0.5), []
    keys = jax.random.split(jax.random.key(0), 2)
    recorded = jax.random.normal(jax.random.key(1), (2, 4, 3))

    def predict(x, clock, keep):
        jax.debug.callback(lambda *values: seen.append(values), x, clock, ordered=True)
        return x

    found = denoise(diffusion, predict, lambda x0: x0, keys, (4, 3), sampling, recorded)
    jax.effects_barrier()
    assert found.shape == (2, 4, 3)
    process = diffusion.process
    times = process.grid(5)[-4:]
    assert len(seen) == 3
    np.testing.assert_allclose([s[1][0] for s in seen], process.clock(times[:-1]), rtol=1e-5)
    alpha, sigma = (float(of(times)[0]) for of in (process.alpha, process.sigma))
    noise = [jax.random.normal(jax.random.fold_in(key, 0), (4, 3)) for key in keys]
    x = alpha * np.asarray(recorded) + 0.5 * sigma * np.asarray(noise)
    if schedule == "elucidated":
        x = x / np.sqrt(alpha**2 + sigma**2)
    np.testing.assert_allclose(seen[0][0], x, atol=1e-5)
