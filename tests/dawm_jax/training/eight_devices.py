"""Tests on eight simulated devices, which test_mesh.py runs in a process that has them."""

import jax
import numpy as np
import pytest
from handmade import make_dataset, random_episode
from jax.tree_util import Partial

from dawm_jax.data import npz_columns
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.streaming import StoredTransitions, TransitionStream
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.errors import UserError
from dawm_jax.learners import LEARNERS, TD3BC, DataStatistics
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.sources import generate as synthesis
from dawm_jax.sources.generate import Synthesis, synthesize
from dawm_jax.training.devices import device_mesh
from dawm_jax.training.loop import fit, jitted, train
from dawm_jax.training.starting import made

KEY = jax.random.key(0)
SMALL = {"horizon": 4, "width": 8, "multipliers": (1,), "steps": 2, "ema_every": 1}


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    ends = [(30, True), (1, True), (25, False), (3, True), (20, False)]
    return make_dataset([random_episode(rng, *end) for end in ends], 0.9, 2.0)


@pytest.fixture
def operations(monkeypatch):
    """Floating-point operations that a device makes in each program that is compiled, in order."""
    jitted(lambda: 0)  # asks XLA what it knows, once
    counts, jit = [], jax.jit

    def counting(function, **settings):
        def call(*args):
            program = jit(function, **settings).lower(*args).compile()
            counts.append(program.cost_analysis()["flops"])
            return program(*args)

        return call

    monkeypatch.setattr(jax, "jit", counting)
    return counts


def assert_close(one, other, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol, rtol=1e-4), one, other)


def shards(tree):
    """The size of the first axis in each of the arrays, and in one device's share of it."""
    return {(len(leaf), len(leaf.addressable_data(0))) for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize(("seeds", "shape"), [(1, (1, 8)), (3, (1, 8)), (4, (4, 2)), (16, (8, 1))])
def test_seeds_have_as_many_devices_as_divide_them(seeds, shape):
    assert device_mesh(seeds).devices.shape == shape


def test_a_world_model(dataset, operations):
    windows = WindowSet.of(dataset, SMALL["horizon"])
    model = WorldModel(batch_size=64, **SMALL)
    state = model.init(KEY, windows)
    operations.clear()
    one, eight = (
        list(train(model, state, windows, KEY, chunk=1, mesh=mesh))
        for mesh in (None, device_mesh())
    )
    for (_, state, metrics), (_, other, same) in zip(one, eight, strict=True):
        assert_close(metrics, same)
        # Not the parameters: where a group norm leaves no gradient, Adam follows rounding errors.
        assert_close(state.opt_state, other.opt_state)
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(other))
    assert operations[-1] < operations[0] / 4  # Adam's are on every device


def test_a_batch_that_the_devices_do_not_divide(dataset, operations):
    transitions = to_transitions(dataset)
    model = InverseDynamics(steps=2, hidden=(64,), batch_size=100)
    state = model.init(KEY, transitions)
    operations.clear()
    one, eight = (
        fit(model, state, TransitionSet(transitions), KEY, mesh=mesh)
        for mesh in (None, device_mesh())
    )
    assert_close(one.params, eight.params)
    assert operations[1] < operations[0] / 4


@pytest.mark.parametrize("backend", ["cpu", "gpu"])  # a device's seeds in turn, or together
def test_learners_of_eight_four_and_three_seeds(dataset, operations, monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    transitions = to_transitions(dataset)
    mix = TransitionSet(transitions, transitions.replace(reward=transitions.reward + 1.0))
    learner = TD3BC(steps=2, hidden=(32,), batch_size=256)
    keys = jax.random.split(KEY, 8)
    init = jax.vmap(learner.init, in_axes=(0, None))
    state = init(keys, DataStatistics.of(dataset))
    operations.clear()
    one = fit(learner, state, mix, keys, seeds=True)
    for seeds, share in ((8, 1), (4, 1), (3, 3)):
        first = jax.tree.map(lambda leaf, seeds=seeds: leaf[:seeds], (state, keys, one))
        mesh = device_mesh(seeds)
        trained = fit(learner, first[0], mix, first[1], seeds=True, mesh=mesh)
        assert_close(first[2], trained)
        assert shards(trained) == {(seeds, share)}
        # Seeds in a loop are counted once, with all of Adam, which is on every device of the data.
        most = 2 / mesh.shape["data"] if backend == "cpu" else 1.5 * seeds / 64
        assert operations[-1] < most * operations[0]
    with pytest.raises(
        UserError, match=r"3 seeds cannot .* over the 8 devices .* device_mesh\(3\)"
    ):
        fit(learner, *first[:1], mix, first[1], seeds=True, mesh=device_mesh(8))


@pytest.mark.parametrize("name", sorted(set(LEARNERS) - {"td3bc"}))
def test_other_learners_of_four_seeds_with_two_devices_each(dataset, name, compiled):
    learner = LEARNERS[name](steps=4, hidden=(16,), batch_size=64)
    keys = jax.random.split(KEY, 4)
    new = Partial(jax.vmap(learner.init, in_axes=(0, None)), keys, DataStatistics.of(dataset))
    data = TransitionSet(to_transitions(dataset))
    one, eight, beside = (
        fit(learner, state, data, keys, seeds=True, mesh=mesh)
        for state, mesh in ((made(new), None), (made(new), device_mesh(4)), (new, device_mesh(4)))
    )
    assert_close(one, eight)
    jax.tree.map(np.testing.assert_array_equal, eight, beside)
    chunks = [program for program in compiled if "all_seeds" in program or "on_mesh" in program]
    assert len(chunks) == 3, compiled
    assert shards(eight) == shards(beside) == {(4, 1)}


def test_learners_on_transitions_in_a_file(dataset, tmp_path):
    """Each device is given the rows of its own seeds."""
    real = to_transitions(dataset)
    np.savez(tmp_path / "transitions.npz", **vars(real))
    columns = npz_columns.mapped(tmp_path / "transitions.npz")
    stored = StoredTransitions(columns, lambda action: action, memory=2**14)
    learner = TD3BC(steps=4, hidden=(8,), batch_size=16)
    keys = jax.random.split(KEY, 4)
    new = Partial(jax.vmap(learner.init, in_axes=(0, None)), keys, DataStatistics.of(dataset))
    mesh = device_mesh(4)
    one, eight, streamed = (
        fit(learner, start, data, keys, seeds=True, mesh=mesh)
        for start, data, mesh in (
            (made(new), TransitionSet(real, real), None),
            (made(new), TransitionSet(real, real), mesh),
            (new, TransitionStream(real, stored), mesh),
        )
    )
    assert_close(one, streamed)
    assert_close(eight, streamed)
    assert shards(streamed) == {(4, 1)}


def test_synthesis(dataset, monkeypatch):
    model, inverse = WorldModel(**SMALL), InverseDynamics(hidden=(8,))
    models = (
        model,
        model.init(KEY, WindowSet.of(dataset, SMALL["horizon"])),
        inverse,
        inverse.init(KEY, to_transitions(dataset)),
    )
    made, generate = [], synthesis._generate
    monkeypatch.setattr(synthesis, "_generate", lambda *a: made.append(generate(*a)) or made[-1])
    settings = Synthesis(transitions=100, chunk=12)
    one, eight = (
        synthesize(*models, dataset, settings, KEY, mesh) for mesh in (None, device_mesh())
    )
    assert 0 < len(one.reward) <= 102
    assert_close(one, eight, atol=1e-3)
    assert [len(valid) for _, valid in made] == [12, 12, 12, 16, 16, 16]
    transitions, valid = made[-1]
    assert shards((transitions.observation, transitions.reward, valid)) == {(16, 2)}
