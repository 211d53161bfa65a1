"""Tests on eight simulated accelerators; test_benchmark.py runs them."""

from contextlib import ExitStack, closing
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.training.devices import DATA, SEED, device_mesh, place
from experiments.benchmark import roofline
from experiments.benchmark.campaign import build_options
from experiments.benchmark.cases import (
    COPY,
    DAWM_JAX,
    JIT_PER_UPDATE,
    LAYER_PRODUCTS,
    PRODUCTS,
    ROOFLINES,
)
from experiments.benchmark.suites import SUITES, learners, models
from experiments.store.checkpoints import Checkpoints


@pytest.fixture
def options(monkeypatch):
    assert jax.device_count() == 8
    for module in (roofline, learners, models):
        monkeypatch.setattr(module, "training_mesh", lambda seeds: device_mesh(seeds or 1))
    options = build_options(("world_model",), (), peers=None, budget=60.0, rounds=1, smoke=True)
    scope = replace(options.scope, copy_bytes=2**10, product_shapes=((64, 32),))
    return replace(options, scope=scope)


@pytest.fixture
def outputs(monkeypatch):
    """The values that the measured functions return."""
    seen, wait = [], jax.block_until_ready
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: seen.append(tree) or wait(tree))
    return seen


def prepared(suite, name, options):
    """The cases of a group."""
    [group] = [group for group in SUITES[suite](options) if name in str(group)]
    with ExitStack() as stack:
        return group.prepare(stack)


@pytest.mark.parametrize(("suite", "name"), [("world_model", "step"), ("learners", "td3bc")])
def test_training_and_rooflines_use_all_devices(suite, name, options, outputs):
    # The first of several cases by the same implementation.
    cases = {case.by: case for case in reversed(prepared(suite, name, options))}
    assert cases[PRODUCTS].flops == 8 * 2.0 * 64 * 32 * 32
    assert cases[COPY].traffic == 8 * 2.0 * 2**10
    if suite == "learners":
        assert cases[LAYER_PRODUCTS].flops == 8 * 2.0 * 256 * 16 * 16
    assert {DAWM_JAX, JIT_PER_UPDATE, PRODUCTS, COPY} <= cases.keys()
    for by in {DAWM_JAX, JIT_PER_UPDATE, *ROOFLINES} & cases.keys():
        outputs.clear()
        assert cases[by].call(1) > 0.0
        for leaf in jax.tree.leaves(outputs):
            assert len(leaf.sharding.device_set) == 8
            assert leaf.is_fully_replicated == (by not in ROOFLINES)


def test_a_batch_is_shared_by_one_to_eight_devices(options, outputs):
    cases = prepared("scale", "devices", options)
    assert [case.settings["devices"] for case in cases] == [1, 2, 4, 8]
    assert len({case.work["windows"] for case in cases}) == 1
    outputs.clear()
    assert cases[-1].call(1) > 0.0
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(outputs)} == {8}


def test_seeds_are_split_and_their_bytes_counted_on_each_device_of_their_batch(options, outputs):
    one, four = (learners.learner_case("iql", (8,), 100, seeds, updates=2) for seeds in (1, 4))
    assert four.traffic == one.traffic  # 4 seeds with 2 copies each, or one seed with 8
    outputs.clear()
    assert four.call(1) > 0.0
    assert {len(leaf.addressable_data(0)) for leaf in jax.tree.leaves(outputs)} == {1}


def test_a_state_saved_on_two_devices_loads_on_one(tmp_path):
    mesh = jax.make_mesh((1, 2), (SEED, DATA), devices=jax.devices()[:2])
    state = {"x": place(jnp.arange(6.0), mesh)}
    with closing(Checkpoints(tmp_path / "states", "walk", keep=1)) as checkpoints:
        checkpoints.save(3, state, {})
        loaded = checkpoints.load(3, jax.eval_shape(lambda: {"x": jnp.zeros(6)}))
    np.testing.assert_array_equal(loaded["x"], state["x"])
    assert loaded["x"].sharding.device_set == {jax.devices()[0]}
