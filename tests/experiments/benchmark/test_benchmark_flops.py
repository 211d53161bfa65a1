from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import IQL, TD3BC, DataStatistics, ReBRAC
from dawm_jax.networks import convolution, temporal_unet
from dawm_jax.networks.temporal_unet import TemporalUNet
from experiments.benchmark import flops
from experiments.benchmark.random_data import ACTION, OBSERVATION, random_dataset
from experiments.benchmark.roofline import rooflines
from experiments.benchmark.scope import CPU
from experiments.benchmark.suites.learners import learner_case
from experiments.benchmark.suites.scale import exponent


@pytest.mark.parametrize(("requested", "count"), [(0.3, 1), (7, 7), (1_490, 3 * 497)])
def test_a_roofline_counts_its_products(requested, count):
    flops_per_product = 2.0 * 4 * 8 * 8
    scope = replace(CPU, product_shapes=((4, 8),), flops_per_call=requested * flops_per_product)
    [case] = rooflines(scope, "float32")
    assert case.work == {"products": count}
    assert case.flops == count * flops_per_product
    assert case.call(1) > 0.0


@pytest.mark.parametrize(
    ("name", "networks"), [("td3bc", ("critic", "actor")), ("iql", ("critic", "actor", "value"))]
)
def test_the_traffic_of_an_update_is_that_of_the_networks_it_changes(name, networks):
    case = learner_case(name, hidden=(8,), transitions=100, seeds=1, updates=4)
    inputs = {"critic": OBSERVATION + ACTION, "actor": OBSERVATION, "value": OBSERVATION}
    outputs = {"critic": 1, "actor": ACTION, "value": 1}
    numbers = {n: (inputs[n] + 1) * 8 + 9 * outputs[n] for n in networks}
    numbers["critic"] *= 2
    numbers["actor"] = numbers["actor"] / 2 if name == "td3bc" else numbers["actor"] + ACTION
    assert case.traffic == 4 * 40 * sum(numbers.values())


def xla_flops(function, *arguments):
    """XLA's count, which includes element-wise operations."""
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("learner", "formula"),
    [
        (TD3BC(hidden=(128, 96), batch_size=64, policy_delay=1), partial(flops.td3, delay=1)),
        (
            ReBRAC(hidden=(128, 96), batch_size=64, policy_delay=1),
            partial(flops.td3, delay=1, critics=2),
        ),
        (IQL(hidden=(128, 96), batch_size=64), flops.iql),
    ],
)
def test_flops_of_an_update_agree_with_xla(learner, formula):
    dataset = random_dataset(100)
    statistics = DataStatistics.of(dataset)
    state = jax.eval_shape(learner.init, jax.random.key(0), statistics)
    batch = TransitionSet(to_transitions(dataset)).sample(jax.random.key(1), learner.batch_shape)
    counted = 64 * formula(OBSERVATION, ACTION, learner.hidden)
    expected = xla_flops(learner.update, state, batch, jax.random.key(2))
    assert counted == pytest.approx(expected, rel=0.1)


def convolution_by_tap(x, kernel, stride=1, left=0):
    """A convolution with exactly the products that are counted."""
    return convolution._tap_products(x, kernel, stride, left)


@pytest.mark.parametrize("multipliers", [(1,), (1, 2, 4)])
def test_flops_of_the_network_agree_with_xla(monkeypatch, narrow_up_to, multipliers):
    narrow_up_to(0)  # no group norm is a matrix product
    monkeypatch.setattr(temporal_unet, "temporal_convolution", convolution_by_tap)
    network = TemporalUNet(13, width=32, multipliers=multipliers)
    one = jnp.ones(16)
    inputs = (jnp.ones((16, 8, 24)), one, one, one > 0, jnp.ones((16, ACTION)))
    params = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    layers = flops.temporal_unet(8, 24, 13, ACTION, 32, multipliers)
    assert 16 * flops.forward(layers) == pytest.approx(
        xla_flops(network.apply, params, *inputs), rel=0.1
    )

    def loss(params, x):
        return jnp.sum(network.apply(params, x, *inputs[1:]) ** 2)

    assert 16 * flops.training(layers) == pytest.approx(
        xla_flops(jax.grad(loss), params, inputs[0]), rel=0.1
    )


@pytest.mark.parametrize(("steps", "taps", "stride"), [(8, 5, 1), (2, 5, 1), (8, 3, 2), (1, 3, 1)])
def test_products_with_padding_are_not_counted(steps, taps, stride):
    pairs = np.convolve(np.ones(steps), np.ones(taps), "full")[taps // 2 :][:steps:stride]
    assert flops.convolution(steps, taps, 3, 7, stride) == 3 * 7 * pairs.sum()


def test_the_exponent_of_a_power_law_is_found():
    assert exponent([(n, 3e-6 * n**1.3) for n in (10, 100, 1000)]) == pytest.approx(1.3)
