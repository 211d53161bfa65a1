"""Tests on eight simulated devices; test_devices.py runs them in a process of its own."""

import jax
import numpy as np
import pytest
from handmade import make_dataset, random_episode

from dawm_jax.data import npz_columns
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.streaming import StoredTransitions, TransitionStream
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.errors import UserError
from dawm_jax.learners import BC, LEARNERS, DataStatistics
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.sources import DAWM, generate
from dawm_jax.sources.generate import Synthesis, synthesize, synthesize_parts
from dawm_jax.training.devices import SEED, NamedSharding, Split, device_mesh
from dawm_jax.training.loop import compiled_loop, fit, train

KEY = jax.random.key(0)
SMALL = {"horizon": 4, "width": 8, "multipliers": (1,), "steps": 2, "ema_every": 1}


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    ends = [(30, True), (1, True), (25, False), (3, True), (20, False)]
    return make_dataset([random_episode(rng, *end) for end in ends], 0.9, 2.0)


def initial(learner, dataset, keys):
    """Initial states, one per key."""
    init = jax.jit(jax.vmap(learner.init, in_axes=(0, None)))
    return init(keys, DataStatistics.of(dataset))


@pytest.fixture
def operations(monkeypatch):
    """Floating-point operations per device of each compiled program, in order."""
    compiled_loop(lambda state: state)  # checks the compiler's options, once
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
    """The size of each array's first axis, and of one device's share of it."""
    return {(len(leaf), len(leaf.addressable_data(0))) for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize(("seeds", "shape"), [(1, (1, 8)), (3, (1, 8)), (4, (4, 2)), (16, (8, 1))])
def test_the_seed_axis_divides_the_seeds(seeds, shape):
    assert device_mesh(seeds).devices.shape == shape


def test_a_world_model(dataset, operations):
    windows = WindowSet.of(dataset, SMALL["horizon"])
    model = WorldModel(batch_size=64, **SMALL)
    state = model.init(KEY, windows)
    operations.clear()
    one, eight = (
        train(model, state, windows, KEY, chunk=1, mesh=mesh) for mesh in (None, device_mesh())
    )
    for (_, state, metrics), (_, other, same) in zip(one, eight, strict=True):
        assert_close(metrics, same)
        # Not the parameters: where a group norm leaves no gradient, Adam follows rounding errors.
        assert_close(state.opt_state, other.opt_state)
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(other))
    assert operations[-1] < operations[0] / 4  # Adam's are on every device


def test_a_batch_that_the_devices_do_not_divide(dataset, operations):
    data = TransitionSet(to_transitions(dataset))
    model = InverseDynamics(steps=2, hidden=(64,), batch_size=100)
    state = model.init(KEY, data)
    operations.clear()
    one, eight = (fit(model, state, data, KEY, mesh=mesh) for mesh in (None, device_mesh()))
    assert_close(one.params, eight.params)
    assert operations[1] < operations[0] / 4


@pytest.mark.parametrize(  # a device's seeds in turn, or together
    "backend", ["cpu", pytest.param("gpu", marks=pytest.mark.slow)]
)
def test_a_learner_of_eight_four_and_three_seeds(dataset, operations, monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    transitions = to_transitions(dataset)
    mix = TransitionSet(transitions, transitions.replace(reward=transitions.reward + 1.0))
    learner = BC(steps=2, hidden=(32,), batch_size=256)
    keys = jax.random.split(KEY, 8)
    state = initial(learner, dataset, keys)
    operations.clear()
    one = fit(learner, state, mix, keys, seeds=True)
    for seeds, share in ((8, 1), (4, 1), (3, 3)):
        first = jax.tree.map(lambda leaf, seeds=seeds: leaf[:seeds], (state, keys, one))
        mesh = device_mesh(seeds)
        trained = fit(learner, first[0], mix, first[1], seeds=True, mesh=mesh)
        assert_close(first[2], trained)
        assert shards(trained) == {(seeds, share)}
        # Seeds in a loop count once, with all of Adam, which every device of the data axis runs.
        most = 2 / mesh.shape["data"] if backend == "cpu" else 1.5 * seeds / 64
        assert operations[-1] < most * operations[0]
    with pytest.raises(
        UserError, match=r"3 seeds cannot .* over the 8 devices .* device_mesh\(3\)"
    ):
        fit(learner, *first[:1], mix, first[1], seeds=True, mesh=device_mesh(8))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(LEARNERS) - {"bc"}))
def test_other_learners_of_four_seeds_with_two_devices_each(dataset, name, compiled):
    learner = LEARNERS[name](steps=4, hidden=(16,), batch_size=64)
    keys = jax.random.split(KEY, 4)
    state = initial(learner, dataset, keys)
    data = TransitionSet(to_transitions(dataset))
    one, eight = (
        fit(learner, state, data, keys, seeds=True, mesh=mesh) for mesh in (None, device_mesh(4))
    )
    assert_close(one, eight)
    chunks = [program for program in compiled if "all_seeds" in program or "on_mesh" in program]
    assert len(chunks) == 2, compiled
    assert shards(eight) == {(4, 1)}


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_state_on_a_mesh_is_donated_to_the_next_chunk_but_the_callers_is_not(dataset, seeds):
    learner = LEARNERS["bc"](steps=3, hidden=(8,), batch_size=8)
    keys = jax.random.split(KEY, seeds)
    own = initial(learner, dataset, keys)
    data, mesh = TransitionSet(to_transitions(dataset)), device_mesh(seeds)
    placed = jax.device_put(own, NamedSharding(mesh, Split(SEED)))
    states = [
        state.actor
        for _, state, _ in train(learner, placed, data, keys, chunk=1, seeds=True, mesh=mesh)
    ]
    deleted = [{leaf.is_deleted() for leaf in jax.tree.leaves(state)} for state in states]
    assert deleted == [{True}, {True}, {False}]
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((own, placed)))
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(states[-1])} == {8}


def test_learners_on_transitions_in_a_file(dataset, tmp_path):
    """Each device receives the rows of its own seeds."""
    recorded = to_transitions(dataset)
    np.savez(tmp_path / "transitions.npz", **vars(recorded))
    columns = npz_columns.memory_map(tmp_path / "transitions.npz")
    stored = StoredTransitions(columns, lambda _, field: field, memory=2**14)
    learner = BC(steps=4, hidden=(8,), batch_size=16)
    keys = jax.random.split(KEY, 4)
    state = initial(learner, dataset, keys)
    mesh = device_mesh(4)
    in_memory, streamed = (
        fit(learner, state, data, keys, seeds=True, mesh=mesh)
        for data in (TransitionSet(recorded, recorded), TransitionStream(recorded, stored))
    )
    assert_close(in_memory, streamed)
    assert shards(streamed) == {(4, 1)}


@pytest.fixture(scope="module")
def source(dataset):
    """DAWM with small models, and their untrained states."""
    dawm = DAWM(WorldModel(**SMALL), InverseDynamics(hidden=(8,)))
    return dawm, {
        name: model.init(KEY, dawm.data(name, dataset)) for name, model in dawm.models().items()
    }


def test_synthesis(dataset, source, monkeypatch):
    calls, function = [], generate._generate

    def watched(*arguments):
        calls.append(function(*arguments))
        return calls[-1]

    monkeypatch.setattr(generate, "_generate", watched)
    settings = Synthesis(transitions=100, chunk=12)
    one, eight = (
        synthesize(*source, dataset, settings, KEY, mesh) for mesh in (None, device_mesh())
    )
    assert 0 < len(one.reward) <= 102
    assert_close(one, eight, atol=1e-3)
    assert [len(valid) for _, valid in calls] == [12, 12, 12, 16, 16, 16]
    transitions, valid = calls[-1]
    assert shards((transitions.observation, transitions.reward, valid)) == {(16, 2)}


def test_a_chunk_too_large_for_the_devices_is_halved_to_a_multiple_of_them(
    dataset, source, monkeypatch
):
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    calls, function, most = [], generate._generate, 8

    def limited(*arguments):
        calls.append(len(arguments[3]))
        if calls[-1] > most:
            raise error
        return function(*arguments)

    monkeypatch.setattr(generate, "_generate", limited)
    settings, mesh = Synthesis(transitions=60, chunk=40), device_mesh()  # of 20 rollouts
    ends = [end for end, _ in synthesize_parts(*source, dataset, settings, KEY, mesh=mesh)]
    assert ends == [8, 16, 20]
    assert calls == [24, 16, 8, 8, 8]
    most = 7
    calls.clear()
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        list(synthesize_parts(*source, dataset, settings, KEY, mesh=mesh))
    assert calls == [24, 16, 8]
