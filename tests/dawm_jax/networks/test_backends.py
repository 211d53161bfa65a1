"""A network computes the same function on a CPU and on other backends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.networks import backend
from dawm_jax.networks.temporal_unet import TemporalUNet

NARROW = TemporalUNet(features=3, width=16, multipliers=(1, 2))
PAPER = TemporalUNet(features=13)
# Programs that are run once.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def arguments(network, batch=2):
    """Random inputs with just enough steps to leave two at the narrowest level."""
    rng = np.random.default_rng(0)
    steps = 2 ** len(network.multipliers)
    x, action = (rng.standard_normal((batch, *s), np.float32) for s in ((steps, 12), (3,)))
    to_go = np.linspace(0.1, 1.0, batch, dtype=np.float32)
    return x, np.arange(1, batch + 1), to_go, to_go > 0.3, action


def shapes(network):
    return jax.eval_shape(network.init, jax.random.key(0), *arguments(network))


def random_parameters(network):
    """Parameters with nonzero biases, whose layers preserve the scale of their inputs."""
    rng = np.random.default_rng(1)

    def draw(leaf):
        scale = leaf.shape[0] ** -0.5 if leaf.ndim == 2 else 1.0
        return scale * rng.standard_normal(leaf.shape, np.float32)

    return jax.tree.map(draw, shapes(network))


def outputs(network, params):
    return jax.jit(network.apply, compiler_options=QUICKLY)(params, *arguments(network))


def outputs_and_gradients(network, params):
    x, *conditions = arguments(network)

    def loss(params, x):
        outputs = network.apply(params, x, *conditions)
        return jnp.mean(outputs**2), outputs

    slopes = jax.grad(loss, argnums=(0, 1), has_aux=True)
    return jax.jit(slopes, compiler_options=QUICKLY)(params, x)


def assert_same(tree, expected, tolerance):
    """Each array differs by at most `tolerance` of its norm; the gradient of a tap that only sees
    padding is zero.
    """

    def check(found, expected):
        assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)
        return np.linalg.norm(expected) > 0.0

    nonzero = jax.tree.leaves(jax.tree.map(check, tree, expected))
    assert np.mean(nonzero) > 0.8


@pytest.mark.slow
def test_cpu_and_xla_forms_of_a_narrow_network_are_the_same_function(traced_for, narrow_up_to):
    params = random_parameters(NARROW)
    traced_for(False)
    expected = outputs_and_gradients(NARROW, params)
    traced_for(True)
    for numbers in (0, backend.NARROW):  # by taps and in few products; banded
        narrow_up_to(numbers)
        assert_same(outputs_and_gradients(NARROW, params), expected, 1e-5)


@pytest.mark.slow
def test_cpu_and_xla_forms_of_the_papers_network_are_the_same_function(traced_for):
    params = random_parameters(PAPER)
    traced_for(False)
    expected = outputs_and_gradients(PAPER, params)
    traced_for(True)
    assert_same(outputs_and_gradients(PAPER, params), expected, 1e-4)


def test_cpu_and_xla_forms_in_bfloat16_are_equally_close_to_float32(traced_for):
    params = random_parameters(NARROW)
    expected = outputs(NARROW, params)
    for cpu in (True, False):
        traced_for(cpu)
        assert_same(outputs(NARROW.clone(dtype="bfloat16"), params), expected, 0.03)


def program(network):
    inputs = arguments(network)
    return str(jax.make_jaxpr(lambda params: network.apply(params, *inputs))(shapes(network)))


@pytest.mark.parametrize("network", [NARROW, PAPER], ids=["narrow", "paper"])
def test_off_the_cpu_each_kernel_is_one_convolution_and_each_dense_layer_one_product(
    traced_for, network
):
    traced_for(False)
    generic = program(network)
    leaves = jax.tree.leaves(shapes(network), is_leaf=lambda leaf: isinstance(leaf, tuple))
    convolutions = sum(isinstance(leaf, tuple) for leaf in leaves)
    dense = sum(not isinstance(leaf, tuple) and leaf.ndim == 2 for leaf in leaves)
    assert generic.count("conv_general_dilated[") == convolutions
    assert generic.count("dot_general[") == dense
    assert "custom_vjp" not in generic

    traced_for(True)
    products = program(network)
    assert "conv_general_dilated" not in products
    assert products.count("dot_general[") > dense
    assert "custom_vjp" in products


def test_parameters_are_the_same_pytree_on_every_backend(traced_for):
    traced_for(True)
    on_cpu = shapes(NARROW)
    traced_for(False)
    assert shapes(NARROW) == on_cpu
