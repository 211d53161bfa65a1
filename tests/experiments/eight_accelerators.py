"""The benchmark on eight devices that work together, as accelerators do; for test_benchmark.py."""

from contextlib import ExitStack
from dataclasses import replace

import jax
import pytest

from dawm_jax.mesh import device_mesh
from experiments.benchmark import roof
from experiments.benchmark.campaign import asked
from experiments.benchmark.cases import ALIKE, COPY, OURS, PRODUCTS, ROOFS
from experiments.benchmark.suites import SUITES, learners, models


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
    """The cases of a group; of those by the same the first."""
    [group] = [group for group in SUITES[suite](options) if name in str(group)]
    with ExitStack() as stack:
        return {case.by: case for case in reversed(group.prepare(stack))}


@pytest.mark.parametrize(("suite", "name"), [("world_model", "step"), ("learners", "td3bc")])
def test_ours_and_the_roofs_are_of_all_devices(suite, name, options, outputs):
    cases = prepared(suite, name, options)
    assert cases[PRODUCTS].flops == 8 * 2.0 * 64 * 32 * 32
    assert cases[COPY].moved == 8 * 2.0 * 2**10
    if suite == "learners":
        assert cases[ALIKE].flops == 8 * 2.0 * 256 * 16 * 16
    for by in {OURS, *ROOFS} & cases.keys():
        outputs.clear()
        assert cases[by].call(1) > 0.0
        for leaf in jax.tree.leaves(outputs):
            assert len(leaf.sharding.device_set) == 8
            assert leaf.is_fully_replicated == (by == OURS)


def test_a_batch_is_shared_by_one_to_eight_devices(options):
    [group] = [group for group in SUITES["scale"](options) if "devices" in str(group)]
    with ExitStack() as stack:
        cases = group.prepare(stack)
    assert [case.settings["devices"] for case in cases] == [1, 2, 4, 8]
    assert len({case.work["windows"] for case in cases}) == 1
    assert cases[-1].call(1) > 0.0
