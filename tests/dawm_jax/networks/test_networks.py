from itertools import pairwise

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.networks.blocks import mish, sinusoidal_embedding
from dawm_jax.networks.convolution import temporal_convolution
from dawm_jax.networks.group_norm import GroupNorm
from dawm_jax.networks.temporal_unet import ConvBlock, TemporalConv, TemporalUNet, Upsample

pytestmark = pytest.mark.optimized  # bounds are those of the programs that users run

KEY = jax.random.key(0)


def naive_convolution(x, kernel, stride, left):
    batch, steps, _ = x.shape
    taps, _, features = kernel.shape
    y = np.zeros((batch, steps // stride, features))
    for out in range(steps // stride):
        for tap in range(taps):
            step = out * stride + tap - left
            if 0 <= step < steps:
                y[:, out] += x[:, step].astype(np.float64) @ kernel[tap].astype(np.float64)
    return y


def xla_convolution(x, kernel, stride, left):
    steps, taps = x.shape[1], len(kernel)
    right = (steps // stride - 1) * stride + taps - left - steps
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,), [(left, right)], dimension_numbers=("NTC", "TIO", "NTC")
    )


def conv_params(kernel, bias):
    return {"kernel": tuple(kernel), "bias": bias}


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("steps", "taps", "stride", "left"),
    [
        (8, 5, 1, 2),
        (4, 5, 1, 2),
        (2, 5, 1, 2),
        (1, 5, 1, 2),
        (3, 1, 1, 0),
        (8, 3, 2, 1),
        (2, 3, 2, 1),
        (6, 2, 1, 1),
        (6, 2, 1, 0),
        (6, 4, 3, 0),
    ],
)
@pytest.mark.usefixtures("every_way")
def test_temporal_convolution(steps, taps, stride, left):
    x, kernel = arrays((3, steps, 2), (taps, 2, 4))
    convolved = temporal_convolution(x, list(kernel), stride, left)
    np.testing.assert_allclose(convolved, naive_convolution(x, kernel, stride, left), atol=1e-5)
    np.testing.assert_allclose(convolved, xla_convolution(x, kernel, stride, left), atol=1e-5)


@pytest.mark.parametrize(("steps", "products"), [(1, 1), (2, 3), (4, 9), (8, 5), (3, 5)])
def test_wide_convolutions_over_few_steps_need_fewer_products(traced_for, steps, products):
    traced_for(True)
    x, kernel = arrays((3, steps, 600), (5, 600, 4))
    program = jax.make_jaxpr(lambda x, k: temporal_convolution(x, k, left=2))(x, list(kernel))
    assert str(program).count("dot_general[") == products


@pytest.mark.parametrize("steps", [2, 4])
def test_fewer_products_are_equally_accurate(traced_for, steps):
    """The error of wide convolutions does not exceed that of a float32 sum of as many products."""
    traced_for(True)
    x, kernel, out = arrays((4, steps, 512), (5, 512, 64), (4, steps, 64))
    wide, slopes = jax.vjp(lambda x, k: temporal_convolution(x, k, left=2), x, tuple(kernel))
    expected = naive_convolution(x, kernel, 1, 2)
    assert np.abs(wide - expected).max() < 1e-6 * np.abs(expected).max() * np.sqrt(512)
    plain = jax.vjp(lambda x, k: xla_convolution(x, jnp.stack(k), 1, 2), x, tuple(kernel))[1]
    for ours, theirs in zip(jax.tree.leaves(slopes(out)), jax.tree.leaves(plain(out)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize(("taps", "stride"), [(5, 1), (3, 2)])
def test_temporal_conv_is_centered_and_adds_its_bias(taps, stride):
    x, kernel, bias = arrays((2, 8, 3), (taps, 3, 4), (4,))
    params = {"params": conv_params(kernel, bias)}
    expected = naive_convolution(x, kernel, stride, taps // 2) + bias
    convolved = TemporalConv(4, taps, stride).apply(params, x)
    np.testing.assert_allclose(convolved, expected, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.usefixtures("every_way")
def test_upsample_is_a_transposed_convolution_with_padding_one(steps):
    x, kernel, bias = arrays((2, steps, 3), (4, 3, 3), (3,))
    expected = np.tile(bias.astype(np.float64), (2, 2 * steps, 1))
    for i in range(steps):
        for j in range(4):
            if 0 <= 2 * i + j - 1 < 2 * steps:
                expected[:, 2 * i + j - 1] += x[:, i] @ kernel[j]
    upsampled = Upsample().apply({"params": conv_params(kernel, bias)}, x)
    np.testing.assert_allclose(upsampled, expected, atol=1e-5)


def test_conv_block_is_convolution_group_norm_mish():
    x, kernel, bias, scale, shift = arrays((2, 4, 3), (5, 3, 6), (6,), (6,), (6,))
    hidden = (naive_convolution(x, kernel, 1, 2) + bias).reshape(2, 4, 2, 3)
    hidden = hidden - hidden.mean(axis=(1, 3), keepdims=True)
    hidden = hidden / np.sqrt(hidden.var(axis=(1, 3), keepdims=True) + 1e-5)
    hidden = hidden.reshape(2, 4, 6) * scale + shift
    expected = hidden * np.tanh(np.log1p(np.exp(hidden)))

    conv, norm = conv_params(kernel, bias), {"scale": scale, "bias": shift}
    params = {"params": {"TemporalConv_0": conv, "GroupNorm_0": norm}}
    block = ConvBlock(6, taps=5, groups=2).apply(params, x)
    np.testing.assert_allclose(block, expected, atol=1e-5)


def test_mish_and_its_derivative_are_accurate_everywhere():
    x = np.array([-80.0, -20.0, -5.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 5.0, 19.9, 20.1, 80.0])
    tanh = np.tanh(np.logaddexp(0.0, x))
    slope = tanh + x * (1.0 - tanh**2) / (1.0 + np.exp(-x))
    value, gradient = jax.vmap(jax.value_and_grad(mish))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(value, x * tanh, rtol=2e-6)
    np.testing.assert_allclose(gradient, slope, rtol=5e-6)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.usefixtures("every_way")
def test_group_norm_and_its_gradients_match_flax(dtype):
    x, scale, bias, out = arrays((3, 4, 24), (24,), (24,), (3, 4, 24))
    x[1] = 0.5  # no variance
    params = {"scale": scale, "bias": bias}
    norms = (GroupNorm(8, dtype=dtype), nn.GroupNorm(8, epsilon=1e-5, dtype=dtype))
    assert norms[0].init(KEY, x).keys() == norms[1].init(KEY, x).keys()

    def of(norm):
        y, gradient = jax.vjp(lambda params, x: norm.apply({"params": params}, x), params, x)
        return y, gradient(out.astype(y.dtype))

    (y, gradients), (expected, slopes) = map(of, norms)
    assert y.dtype == expected.dtype
    tolerance = {"atol": 1e-5, "rtol": 1e-4} if dtype is None else {"atol": 0.05, "rtol": 0.02}
    np.testing.assert_allclose(y.astype(float), expected.astype(float), **tolerance)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), gradients, slopes)


def test_group_norm_whitens_each_group():
    (x,) = arrays((3, 4, 24))
    params = {"params": {"scale": np.ones(24), "bias": np.zeros(24)}}
    y = np.asarray(GroupNorm(8).apply(params, 5.0 * x + 2.0))
    groups = y.astype(np.float64).reshape(3, 4, 8, 3)
    np.testing.assert_allclose(groups.mean((1, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(groups.var((1, 3)), 1.0, atol=1e-4)


def test_kernels_are_initialized_with_fan_in_variance():
    params = TemporalConv(400, taps=5).init(jax.random.key(0), jnp.zeros((1, 4, 300)))["params"]
    assert len(params["kernel"]) == 5
    for weights in params["kernel"]:
        np.testing.assert_allclose(np.var(weights), 1.0 / 1500.0, rtol=0.02)


@pytest.mark.parametrize("position", [0.0, 3.0, 1000.0])
def test_sinusoidal_embedding(position):
    angle = [position * 10_000 ** (-i / 3) for i in range(4)]
    expected = [*np.sin(angle), *np.cos(angle)]
    embedding = sinusoidal_embedding(jnp.array([position]), 8)[0]
    np.testing.assert_allclose(embedding, expected, atol=2e-4)


def expected_parameters(width, multipliers, channels, embeddings):
    """Parameters of Decision Diffuser's network; `embeddings` are the widths that enter them."""

    def affine(inputs, outputs):
        return inputs * outputs + outputs

    def conv_block(inputs, outputs):
        return affine(5 * inputs, outputs) + 2 * outputs

    def residual_block(inputs, outputs):
        skip = 0 if inputs == outputs else affine(inputs, outputs)
        convolutions = conv_block(inputs, outputs) + conv_block(outputs, outputs)
        return convolutions + skip + affine(len(embeddings) * width, outputs)

    clock, *conditions = embeddings
    count = affine(clock, 4 * width) + affine(4 * width, width)
    for inputs in conditions:
        count += affine(inputs, width) + affine(width, 4 * width) + affine(4 * width, width)
    widths = [channels, *(width * multiplier for multiplier in multipliers)]
    for inputs, outputs in pairwise(widths):
        count += residual_block(inputs, outputs) + residual_block(outputs, outputs)
    for level in widths[1:-1]:
        count += affine(3 * level, level)  # down
    count += 2 * residual_block(widths[-1], widths[-1])
    for outputs, inputs in pairwise(widths[1:]):
        count += residual_block(2 * inputs, outputs) + residual_block(outputs, outputs)
        count += 4 * outputs * outputs + outputs  # up
    return count + conv_block(width, width) + affine(width, channels)


def test_parameter_count_matches_the_published_one():
    assert expected_parameters(128, (1, 4, 8), 12, [128, 1]) == pytest.approx(59.7e6, abs=0.05e6)
    one = jnp.ones(1)
    shapes = jax.eval_shape(
        TemporalUNet(features=12).init,
        jax.random.key(0),
        jnp.ones((1, 8, 12)),
        one,
        one,
        one > 0,
        jnp.ones((1, 3)),
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == expected_parameters(128, (1, 4, 8), 12, [128, 1, 3])


@pytest.fixture(scope="module")
def unet():
    """A small network, as a jitted function of its inputs, and some inputs."""
    x, action = arrays((4, 4, 3), (4, 2))
    step, to_go = jnp.array([1, 2, 3, 4]), jnp.array([0.1, 0.5, -0.3, 0.9])
    inputs = {"x": x, "step": step, "return_to_go": to_go, "keep_return": to_go > -1}
    inputs["action"] = jnp.asarray(action)
    network = TemporalUNet(features=3, width=8, multipliers=(1, 2))
    params = jax.jit(network.init)(jax.random.key(0), **inputs)
    return jax.jit(lambda **inputs: network.apply(params, **inputs)), inputs


def test_each_part_is_traced_once_per_shape(traced_for, unet):
    traced_for(True)
    predict, inputs = unet
    program = jax.make_jaxpr(predict)(**inputs).eqns[0].params["jaxpr"]
    traces = {}
    for part in program.eqns:
        if "jaxpr" in part.params:
            shapes = (part.params["name"], *(variable.aval.shape for variable in part.invars))
            traces.setdefault(shapes, []).append(part.params["jaxpr"])
    assert {"_products", "_group_norm"} == {name for name, *_ in traces}
    assert sum(map(len, traces.values())) > 2 * len(traces)
    # An upsampling's two convolutions are of the same shapes, but not of the same steps.
    assert {len(set(map(id, of_shapes))) for of_shapes in traces.values()} <= {1, 2}


def test_a_hidden_return_has_no_effect(unet):
    predict, inputs = unet
    keep = jnp.array([True, False, True, False])
    before = predict(**inputs | {"keep_return": keep})
    changed = predict(**inputs | {"keep_return": keep, "return_to_go": inputs["return_to_go"] + 2})
    differs = np.abs(before - changed).max(axis=(1, 2)) > 1e-4
    np.testing.assert_array_equal(differs, keep)
    np.testing.assert_array_equal(before[~keep], changed[~keep])


@pytest.mark.parametrize("name", ["step", "return_to_go", "keep_return", "action"])
def test_every_condition_affects_only_its_own_window(unet, name):
    predict, inputs = unet
    first = inputs[name][0]
    value = inputs[name].at[0].set(~first if name == "keep_return" else first + 1)
    changed = predict(**inputs | {name: value})
    difference = np.abs(changed - predict(**inputs)).max(axis=(1, 2))
    assert difference[0] > 1e-4
    np.testing.assert_allclose(difference[1:], 0.0, atol=1e-6)


def test_the_first_and_the_last_step_affect_each_other(unet):
    predict, inputs = unet
    for source, target in ((0, 3), (3, 0)):
        x = inputs["x"].copy()
        x[:, source] += 1
        moved = np.abs(predict(**inputs | {"x": x}) - predict(**inputs))[:, target]
        assert moved.max() > 1e-4
