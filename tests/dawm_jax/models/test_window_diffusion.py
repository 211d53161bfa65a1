from functools import partial
from itertools import pairwise

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset

from dawm_jax.data.windows import WindowSet
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.diffusion.schedule import cosine_signal_rate
from dawm_jax.models.window_codec import fit_codec
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.networks.temporal_unet import TemporalUNet
from dawm_jax.training.loop import fit
from dawm_jax.types import Context

DIM, HORIZON = 3, 4
APPLY = jax.jit(TemporalUNet(DIM + 2, width=8, multipliers=(1,)).apply)


@pytest.fixture(scope="module")
def window(small_windows):
    return small_windows.at(jnp.arange(28, 36))  # a terminal state and its fill among them


def network(params, codec, x, step, keep, context):
    """The network's float64 output for `x`, whose first state is set to the given one."""
    absolute = codec.observation_target == "absolute"
    normalizer = codec.target if absolute else codec.state
    state = np.asarray(normalizer.normalize(context.observation))
    x = np.array(x)
    no_change = -np.broadcast_to(codec.target.offset / codec.target.scale, (HORIZON, DIM))[0]
    x[:, 0, :DIM] = state if absolute else no_change
    if not absolute:
        x = np.concatenate([x, np.repeat(state[:, None], HORIZON, axis=1)], axis=-1)
    inputs = (jnp.full(len(x), step), context.return_to_go, jnp.asarray(keep), context.action)
    return np.asarray(APPLY(params, x.astype(np.float32), *inputs), np.float64)


def test_an_initial_state_has_a_fitted_codec_and_an_average_equal_to_its_parameters(
    small_model, small_windows
):
    model, state = small_model("displacement")
    other = model.init(jax.random.key(1), small_windows)
    codec = fit_codec(small_windows, "displacement", "standard", "standard", model.diffused)
    chex.assert_trees_all_equal(state.codec, codec)
    chex.assert_trees_all_equal(other.codec, codec)
    chex.assert_trees_all_equal(state.params, state.ema_params)
    assert int(state.step) == 0
    kernels = [max(jax.tree.leaves(one.params), key=jnp.size) for one in (state, other)]
    assert (kernels[0] != kernels[1]).any()


SETTINGS = [("increment", "x0"), ("displacement", "v"), ("absolute", "epsilon")]


@pytest.mark.parametrize(("target", "parameterization"), SETTINGS)
def test_loss_is_the_masked_mean_of_squared_errors(small_model, window, target, parameterization):
    model, state = small_model(target, parameterization=parameterization, condition_dropout=0.5)
    key = jax.random.key(3)
    step_key, noise_key, keep_key = jax.random.split(key, 3)
    x0, mask = (np.asarray(array, np.float64) for array in state.codec.encode(window))
    step = np.asarray(jax.random.randint(step_key, (8,), 1, model.diffusion_steps + 1))
    noise = np.asarray(jax.random.normal(noise_key, x0.shape), np.float64)
    keep = jax.random.bernoulli(keep_key, 0.5, (8,))
    assert len(set(step)) > 2
    assert 0 < keep.sum() < 8
    assert 0.2 < mask.mean() < 0.95

    rate = cosine_signal_rate(model.diffusion_steps)[step][:, None, None]
    x = np.sqrt(rate) * x0 + np.sqrt(1 - rate) * noise
    prediction = network(state.params, state.codec, x, step, keep, window.context)
    wanted = {
        "x0": x0,
        "epsilon": noise,
        "v": np.sqrt(rate) * noise - np.sqrt(1 - rate) * x0,
    }[parameterization]
    expected = ((prediction - wanted) ** 2)[mask > 0].mean()
    loss = jax.jit(model.loss)(state.params, state.codec, window, key)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("target", "parameterization", "guidance_scale"),
    [(*setting, 1.5) for setting in SETTINGS] + [("increment", "x0", 1.0)],
)
def test_sample_equals_a_plain_loop(small_model, window, target, parameterization, guidance_scale):
    model, state = small_model(target, parameterization=parameterization)
    sampling = Sampling(sampling_steps=3, temperature=0.7, guidance_scale=guidance_scale)
    state = state.replace(ema_params=jax.tree.map(lambda leaf: 1.5 * leaf, state.params))
    keys = jax.random.split(jax.random.key(5), 8)
    codec, context = state.codec, window.context

    def noise(draw):
        shape = (HORIZON, DIM + 2)
        draws = [jax.random.normal(jax.random.fold_in(key, draw), shape) for key in keys]
        return np.asarray(jnp.stack(draws), np.float64)

    rate = cosine_signal_rate(5)
    x = 0.7 * noise(0)
    for draw, (k, j) in enumerate([(5, 3), (3, 1), (1, 0)], start=1):
        ones = np.ones(8, bool)
        seen = network(state.ema_params, codec, x, k, ones, context)
        hidden = network(state.ema_params, codec, x, k, ~ones, context)
        prediction = seen
        if guidance_scale != 1.0:
            prediction = guidance_scale * seen + (1 - guidance_scale) * hidden
            assert np.abs(seen - hidden).max() > 0.01
        x0 = {
            "x0": prediction,
            "epsilon": (x - np.sqrt(1 - rate[k]) * prediction) / np.sqrt(rate[k]),
            "v": np.sqrt(rate[k]) * x - np.sqrt(1 - rate[k]) * prediction,
        }[parameterization]
        x0 = np.asarray(codec.clip(jnp.asarray(x0, jnp.float32)), np.float64)
        alpha = rate[k] / rate[j]
        mean = np.sqrt(rate[j]) * (1 - alpha) * x0 + np.sqrt(alpha) * (1 - rate[j]) * x
        deviation = np.sqrt((1 - rate[j]) * (1 - alpha) / (1 - rate[k]))
        x = mean / (1 - rate[k]) + 0.7 * deviation * noise(draw)

    expected = codec.decode(jnp.asarray(x, jnp.float32), context)
    rollout = jax.jit(partial(model.sample, sampling=sampling))(state, context, keys)
    np.testing.assert_allclose(rollout.observation, expected.observation, atol=2e-3)
    np.testing.assert_allclose(rollout.reward, expected.reward, atol=2e-3)
    certain = np.abs(x[..., -1]) > 1e-2
    np.testing.assert_array_equal(rollout.terminal[certain], expected.terminal[certain])


def test_a_window_depends_on_its_key_and_not_on_its_batch(small_model, window):
    model, state = small_model()
    keys = jax.random.split(jax.random.key(5), 8)
    sample = jax.jit(model.sample)
    batch = sample(state, window.context, keys)
    part = jnp.array([6, 2])
    alone = sample(state, jax.tree.map(lambda leaf: leaf[part], window.context), keys[part])
    # The order of float32 sums differs with the batch; in float64 both agree to the last bit.
    np.testing.assert_allclose(alone.observation, batch.observation[part], atol=2e-4)
    np.testing.assert_allclose(alone.reward, batch.reward[part], atol=2e-4)
    other = sample(state, window.context, keys[::-1])
    assert np.abs(other.reward - batch.reward).max(axis=1).min() > 1e-2


def test_the_unconditional_model_ignores_the_return(small_model, window):
    model, state = small_model()
    keys = jax.random.split(jax.random.key(5), 8)
    sample = jax.jit(partial(model.sample, sampling=Sampling(guidance_scale=0.0)))
    changed = window.context.replace(return_to_go=window.context.return_to_go + 3)
    rewards = [sample(state, context, keys).reward for context in (window.context, changed)]
    np.testing.assert_allclose(*rewards, atol=1e-6)


def test_the_average_is_updated_every_few_steps_and_starts_late(small_model, window):
    model, state = small_model(ema_every=2, ema_start=4, ema_decay=0.75)
    update = jax.jit(model.update)
    average = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)
    for step in range(1, 10):
        state, _ = update(state, window, jax.random.key(step))
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)
        if step in (2, 4):
            average = params
        elif step in (6, 8):
            average = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, average, params)
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6),
            average,
            state.ema_params,
        )
    assert int(state.step) == 9
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), average, params)
    assert max(jax.tree.leaves(moved)) > 1e-4


ALL = ("observation", "action", "reward", "terminal")
GROUPS = {
    "DAWM": {},
    "joint": {"diffused": ALL},
    "Decision Diffuser": {"diffused": ("observation",), "given": ("observation",)},
}


@pytest.mark.parametrize(
    "name",
    ["joint", *(pytest.param(n, marks=pytest.mark.slow) for n in ("DAWM", "Decision Diffuser"))],
)
def test_groups_of_channels_are_settings(small_windows, window, name):
    model = WorldModel(horizon=HORIZON, width=8, multipliers=(1,), batch_size=8, **GROUPS[name])
    state = model.init(jax.random.key(0), small_windows)
    updated, metrics = jax.jit(model.update)(state, window, jax.random.key(1))
    assert np.isfinite(metrics["loss"])
    moved = jax.tree.map(lambda new, old: bool((new != old).any()), updated.params, state.params)
    assert any(jax.tree.leaves(moved))

    sampling = Sampling(temperature=3.0)  # that clipping is needed
    sample = jax.jit(partial(model.sample, sampling=sampling))
    keys = jax.random.split(jax.random.key(2), 8)
    rollout = sample(updated, window.context, keys)
    other = sample(updated, window.context.replace(action=-window.context.action), keys)
    assert rollout.observation.shape == (8, HORIZON, DIM)
    assert rollout.terminal.shape == (8, HORIZON)
    assert np.isfinite(rollout.observation).all()
    np.testing.assert_array_equal(rollout.observation[:, 0], window.context.observation)
    follows_action = (rollout.observation != other.observation).any()
    assert follows_action == (name != "Decision Diffuser")
    if name == "Decision Diffuser":
        assert rollout.reward is None
        assert rollout.action.shape == (8, 0, 2)
    else:
        assert rollout.reward.shape == (8, HORIZON)
    if name == "DAWM":
        assert rollout.action is None
    if name == "joint":
        assert rollout.action.shape == (8, HORIZON, 2)
        np.testing.assert_array_equal(rollout.action[:, 0], window.context.action)
        assert np.abs(rollout.action[:, 1:]).max() == 1.0
        assert np.abs(rollout.action[:, 1:]).min() < 1.0


@pytest.mark.parametrize(
    ("schedule", "parameterization", "sampler"),
    [
        ("elucidated", "preconditioned", "dpm_solver_2m"),
        ("flow", "velocity", "ancestral"),
        pytest.param("elucidated", "preconditioned", "ancestral", marks=pytest.mark.slow),
        pytest.param("flow", "velocity", "dpm_solver_2m", marks=pytest.mark.slow),
    ],
)
def test_schedules_in_continuous_time_train_and_sample(
    small_model, window, schedule, parameterization, sampler
):
    model, state = small_model(schedule=schedule, parameterization=parameterization)
    update = jax.jit(model.update)
    for step in range(2):
        state, metrics = update(state, window, jax.random.key(step))
        assert np.isfinite(metrics["loss"])
    # More steps than a discrete schedule of 5 steps has.
    sampling = Sampling(sampling_steps=8, sampler=sampler)
    keys = jax.random.split(jax.random.key(5), 8)
    rollout = jax.jit(partial(model.sample, sampling=sampling))(state, window.context, keys)
    assert np.isfinite(rollout.observation).all()
    assert np.isfinite(rollout.reward).all()
    np.testing.assert_array_equal(rollout.observation[:, 0], window.context.observation)
    changes = np.diff(rollout.observation, axis=1)
    scale = np.asarray(state.codec.target.scale)
    assert (np.abs(changes).max(axis=(0, 1)) <= 5 * scale).all()


def test_one_compilation_per_shape(small_model, window):
    model, state = small_model()
    update, sample = jax.jit(model.update), jax.jit(model.sample)
    for seed in range(3):
        state, _ = update(state, window, jax.random.key(seed))
        sample(state, window.context, jax.random.split(jax.random.key(seed), 8))
    assert (update._cache_size(), sample._cache_size()) == (1, 1)


@pytest.mark.slow
def test_computing_in_bfloat16_changes_results_by_rounding_only(small_model, window):
    keys = jax.random.split(jax.random.key(5), 8)
    draws = jax.random.split(jax.random.key(3), 64)
    losses, gradients, rollouts = [], [], []
    for dtype in ("float32", "bfloat16"):
        model, state = small_model(compute_dtype=dtype)
        updated, _ = jax.jit(model.update)(state, window, jax.random.key(3))
        assert {leaf.dtype for leaf in jax.tree.leaves(updated.params)} == {jnp.dtype("float32")}
        step = jax.vmap(jax.value_and_grad(model.loss), in_axes=(None, None, None, 0))
        loss, gradient = jax.jit(step)(state.params, state.codec, window, draws)
        losses.append(loss)
        gradients.append(np.hstack([leaf.reshape(64, -1) for leaf in jax.tree.leaves(gradient)]))
        rollouts.append(jax.jit(model.sample)(state, window.context, keys))
    full, half = rollouts
    assert (losses[0] != losses[1]).any()
    assert (full.reward != half.reward).any()
    np.testing.assert_allclose(*losses, rtol=0.02)
    # Not for every draw: where a group norm divides by almost 0, rounding errors dominate.
    exact, rounded = gradients
    distance = np.linalg.norm(rounded - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert 0.0 < np.median(distance) < 0.25
    assert half.observation.dtype == half.reward.dtype == jnp.float32
    # Not for all: a flag at its threshold may flip, which changes the states after it.
    assert np.median(np.abs(half.observation - full.observation)) < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute_dtype": "float16"}, "compute_dtype 'float16'.*float32"),
        ({"horizon": 6}, "horizon is 6.*multiple of 4"),
        ({"horizon": 1, "multipliers": (1,)}, "horizon is 1"),
        ({"width": 12}, "width is 12.*multiple of 8"),
        ({"width": 0}, "width is 0"),
        ({"observation_target": "incremnt"}, "target 'incremnt'.*mean 'increment'"),
        ({"observation_normalizer": "none"}, "observation_normalizer 'none'.*standard"),
        ({"reward_normalizer": "max"}, "reward_normalizer 'max'"),
        ({"parameterization": "eps"}, "parameterization 'eps'"),
        ({"schedule": "karras"}, "unknown schedule 'karras'"),
        ({"schedule": "elucidated"}, "'x0' does not fit.*'elucidated'"),
        ({"sigma_max": 10.0}, "WorldModel.sigma_max is 10.0, but the schedule 'cosine'"),
        ({"diffused": ("reward",)}, "diffused is .*'observation'"),
        ({"given": ("observation", "terminal")}, "group in given 'terminal'"),
        ({"diffused": "observation"}, "WorldModel.diffused is .*tuple"),
        ({"multipliers": ()}, "multipliers"),
        ({"condition_dropout": 1.5}, "condition_dropout is 1.5"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"ema_every": 0}, "ema_every is 0"),
        ({"observation_normalizer": "quantile"}, "'quantile' is for observation_target 'absolute'"),
    ],
)
def test_an_invalid_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        WorldModel(**settings)


FACTORS = np.array([0.8, 0.5, 0.4])  # of state, action and reward in the next state
HIDDEN = 0.3  # standard deviation of what nothing tells


def one_step(rng):
    """An episode whose return-to-go is its reward, which determines part of the next state."""
    known = np.array([rng.normal(), rng.uniform(-1, 1), rng.normal()])
    state, action, reward = known
    next_state = FACTORS @ known + HIDDEN * rng.normal()
    return np.array([[state], [next_state]]), np.array([[action]]), np.array([reward]), False


def variance_kept(alpha, sigma, variance):
    """Share of a Gaussian's `variance` that ancestral sampling with its exact denoiser keeps."""
    sampled = alpha[0] ** 2 + sigma[0] ** 2
    for (a, b), (s, r) in zip(pairwise(alpha), pairwise(sigma), strict=True):
        gain = a * variance / (a**2 * variance + s**2)
        added = 1 - (a * r / (b * s)) ** 2
        from_x = a / b * (r / s) ** 2
        sampled = (b * added * gain + from_x) ** 2 * sampled + r**2 * added
    return sampled / variance


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "visited", "tolerance"),
    [
        ({"parameterization": "x0", "diffusion_steps": 5}, 3, 0.2),
        ({"parameterization": "v", "diffusion_steps": 1000}, 250, 0.2),
        ({"parameterization": "v", "diffusion_steps": 1000, "steps": 15_000}, 1000, 0.1),
        ({"parameterization": "velocity", "schedule": "flow"}, 250, 0.2),
        ({"parameterization": "preconditioned", "schedule": "elucidated"}, 250, 0.2),
    ],
)
def test_a_trained_model_samples_the_conditional_distribution(settings, visited, tolerance):
    """Mean and variance of a linear-Gaussian step, as the sampler's closed form has them.

    What must be told apart: 0.25 of the variance at half the temperature, 2.8 times where the
    return-to-go is not seen. A narrow network, or few enough windows to learn by heart, would
    lose variance too.
    """
    rng = np.random.default_rng(0)
    windows = WindowSet.of(make_dataset([one_step(rng) for _ in range(30_000)]), 2)
    model = WorldModel(
        **{"steps": 3000, **settings},
        horizon=2,
        width=64,
        multipliers=(1,),
        condition_dropout=0.0,
        batch_size=256,
    )
    state = fit(model, model.init(jax.random.key(0), windows), windows, jax.random.key(1))

    count = 2000
    known = np.stack([rng.normal(size=count), rng.uniform(-1, 1, count), rng.normal(size=count)], 1)
    columns = jnp.asarray(known, jnp.float32)
    context = Context(columns[:, :1], columns[:, 1:2], columns[:, 2])
    sampling = Sampling(sampling_steps=visited, temperature=1.0, guidance_scale=1.0)
    sample = jax.jit(partial(model.sample, sampling=sampling))
    rollout = sample(state, context, jax.random.split(jax.random.key(2), count))
    sampled = np.asarray(rollout.observation[:, 1, 0], np.float64)
    inputs = np.column_stack([known, np.ones(count)])
    factors = np.linalg.lstsq(inputs, sampled)[0]
    np.testing.assert_allclose(factors, [*FACTORS, 0.0], atol=tolerance / 4)

    scale = float(state.codec.target.scale[0])
    times = model.process.grid(visited)
    levels = model.process.alpha(times), model.process.sigma(times)
    kept = variance_kept(*levels, (HIDDEN / scale) ** 2)
    assert kept > 0.9 if visited > 5 else 0.01 < kept < 0.9
    ratio = np.var(sampled - inputs @ factors) / (kept * HIDDEN**2)
    assert 1 / (1 + tolerance) < ratio < 1 + tolerance
    assert np.abs(rollout.reward[:, 0] - known[:, 2]).mean() < 0.2
    assert not rollout.terminal.any()
