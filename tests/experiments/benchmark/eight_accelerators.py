"""On eight devices that work together, as accelerators do; test_benchmark.py runs these tests."""

from contextlib import ExitStack, closing
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.training.devices import DATA, SEED, device_mesh, place
from experiments.benchmark import roof
from experiments.benchmark.campaign import asked
from experiments.benchmark.cases import ALIKE, COPY, ONE_BY_ONE, OURS, PRODUCTS, ROOFS
from experiments.benchmark.suites import SUITES, learners, models
from experiments.store.checkpoints import Checkpoints


@pytest.fixture
def options(monkeypatch):
    assert jax.device_count() == 8
    for module in (roof, learners, models):
        monkeypatch.setattr(module, "training_mesh", lambda seeds: device_mesh(seeds or 1))
    options = asked(("world_model",), (), peers=None, budget=60.0, rounds=1, smoke=True)
    return replace(options, scope=replace(options.scope, copied=2**10, products=((64, 32),)))


@pytest.fixture
def outputs(monkeypatch):
    """What the measured functions return."""
    seen, wait = [], jax.block_until_ready
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: seen.append(tree) or wait(tree))
    return seen


def prepared(suite, name, options):
    """The cases of a group."""
    [group] = [group for group in SUITES[suite](options) if name in str(group)]
    with ExitStack() as stack:
        return group.prepare(stack)


@pytest.mark.parametrize(("suite", "name"), [("world_model", "step"), ("learners", "td3bc")])
def test_ours_and_the_roofs_are_of_all_devices(suite, name, options, outputs):
    # Of several by the same, the first.
    cases = {case.by: case for case in reversed(prepared(suite, name, options))}
    assert cases[PRODUCTS].flops == 8 * 2.0 * 64 * 32 * 32
    assert cases[COPY].moved == 8 * 2.0 * 2**10
    if suite == "learners":
        assert cases[ALIKE].flops == 8 * 2.0 * 256 * 16 * 16
    assert {OURS, ONE_BY_ONE, PRODUCTS, COPY} <= cases.keys()
    for by in {OURS, ONE_BY_ONE, *ROOFS} & cases.keys():
        outputs.clear()
        assert cases[by].call(1) > 0.0
        for leaf in jax.tree.leaves(outputs):
            assert len(leaf.sharding.device_set) == 8
            assert leaf.is_fully_replicated == (by not in ROOFS)


def test_a_batch_is_shared_by_one_to_eight_devices(options, outputs):
    cases = prepared("scale", "devices", options)
    assert [case.settings["devices"] for case in cases] == [1, 2, 4, 8]
    assert len({case.work["windows"] for case in cases}) == 1
    outputs.clear()
    assert cases[-1].call(1) > 0.0
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(outputs)} == {8}


def test_seeds_are_split_and_their_bytes_counted_on_each_device_of_their_batch(options, outputs):
    one, four = (learners.learner_case("iql", (8,), 100, seeds, updates=2) for seeds in (1, 4))
    assert four.moved == one.moved  # 4 seeds with 2 copies each, instead of one with 8
    outputs.clear()
    assert four.call(1) > 0.0
    assert {len(leaf.addressable_data(0)) for leaf in jax.tree.leaves(outputs)} == {1}


def test_a_state_of_two_devices_goes_on_on_one(tmp_path):
    mesh = jax.make_mesh((1, 2), (SEED, DATA), devices=jax.devices()[:2])
    state = {"x": place(jnp.arange(6.0), mesh)}
    with closing(Checkpoints(tmp_path / "kept", "walk", keep=1)) as kept:
        kept.save(3, state, {})
        loaded = kept.load(3, jax.eval_shape(lambda: {"x": jnp.zeros(6)}))
    np.testing.assert_array_equal(loaded["x"], state["x"])
    assert loaded["x"].sharding.device_set == {jax.devices()[0]}
