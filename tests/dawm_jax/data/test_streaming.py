"""Training on transitions that stay in a file is bit-identical to training on them in memory."""

import re
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset, random_episode

from dawm_jax.data import npz_columns
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.streaming import StoredTransitions, TransitionStream
from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import NonFiniteError, UserError
from dawm_jax.learners import TD3BC, DataStatistics
from dawm_jax.training.feeding import calls
from dawm_jax.training.loop import train

KEY = jax.random.key(3)
LEARNER = TD3BC(steps=24, batch_size=8, hidden=(16, 16), learning_rate=1e-2)  # 2 updates a step
ROWS = 16  # synthetic ones that a step of it takes, for one seed
ACTIONS = ("action", "next_action")


def from_units(name, field):
    return field * 2 if name in ACTIONS else field


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    """Recorded transitions, synthetic ones in memory, the latter in a file by halves, a state."""
    rng = np.random.default_rng(0)
    dataset = make_dataset([random_episode(rng, 10, terminated=True) for _ in range(4)])
    recorded = to_transitions(dataset)
    synthetic = jax.tree.map(lambda leaf: jnp.concatenate([leaf[::-1], leaf]), recorded)
    synthetic = synthetic.replace(
        recorded=jnp.zeros_like(synthetic.recorded), reward=synthetic.reward + 1.0
    )
    fields = vars(synthetic) | {name: getattr(synthetic, name) / 2 for name in ACTIONS}
    path = tmp_path_factory.mktemp("pool") / "transitions.npz"
    np.savez(path, **fields)
    stored = StoredTransitions(npz_columns.memory_map(path), from_units, 10**6)
    state = jax.jit(LEARNER.init)(KEY, DataStatistics.of(dataset))
    return recorded, synthetic, stored, state


def limited(stored, rows):
    """The file, with at most `rows` rows per read."""
    return replace(stored, memory=rows * stored.row_bytes)


@pytest.mark.parametrize(("shape", "ratio"), [((8,), 0.5), ((2, 9), 0.3), ((5,), 0.8)])
def test_a_streamed_batch_equals_a_batch_from_memory(pools, shape, ratio):
    recorded, synthetic, stored, _ = pools
    stream = TransitionStream(recorded, stored, ratio)
    rows = stream.fetch(np.asarray(stream.index(KEY, shape)))
    batch = stream.sample(KEY, shape, rows)
    expected = TransitionSet(recorded, synthetic, ratio).sample(KEY, shape)
    chex.assert_trees_all_equal(batch, expected)
    assert stored.row_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(synthetic)) / len(stored)


def trained(pools, stored, seeds=False, chunk=8, start=0, state=None):
    """(updates, state, metrics) after each chunk, copied from the device."""
    recorded, synthetic, _, first = pools
    data = TransitionStream(recorded, stored) if stored else TransitionSet(recorded, synthetic)
    key = KEY
    if seeds:
        first = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), first)
        key = jax.random.split(KEY, 3)
    state = first if state is None else state
    steps = train(LEARNER, state, data, key, chunk=chunk, start=start, seeds=seeds)
    return [(done, *jax.tree.map(np.array, (state, metrics))) for done, state, metrics in steps]


@pytest.mark.parametrize("seeds", [pytest.param(False, marks=pytest.mark.slow), True])
def test_training_gives_the_same_bits_for_any_call_length(pools, seeds):
    stored, steps = pools[2], ROWS * (3 if seeds else 1)
    expected = trained(pools, None, seeds)
    assert [done for done, *_ in expected] == [8, 16, 24]
    for rows in (100 * steps, 2 * steps, 3 * steps - 1):
        chex.assert_trees_all_equal(trained(pools, limited(stored, rows), seeds), expected)


def test_resumed_training_gives_the_same_bits(pools):
    stored = limited(pools[2], 2 * ROWS)
    whole = trained(pools, stored)
    ((_, halfway, _),) = trained(pools, stored, chunk=4)[2:3]
    rest = trained(pools, stored, start=12, state=halfway)
    assert [done for done, *_ in rest] == [16, 24]
    chex.assert_trees_all_equal(rest[-1], whole[-1])


def test_a_read_has_no_more_rows_than_allowed(pools):
    read = []

    class Watched(StoredTransitions):
        def rows(self, index):
            read.append(index.size)
            return super().rows(index)

    for seeds, rows, sizes in (
        (False, 3 * ROWS + 1, [2 * ROWS] * 6),
        (True, 4 * 3 * ROWS, [4 * 3 * ROWS] * 3),
        (False, 1, [ROWS] * 12),
    ):
        read.clear()
        trained(pools, Watched(**vars(limited(pools[2], rows))), seeds)
        assert read == sizes


def test_a_nonfinite_loss_is_found(pools):
    recorded, _, stored, state = pools
    columns = {**stored.columns, "reward": np.full(len(stored), np.inf, np.float32)}
    data = TransitionStream(recorded, replace(stored, columns=columns))
    with pytest.raises(NonFiniteError, match=re.escape("is not finite in updates 1 to 2")):
        list(train(LEARNER, state, data, KEY))


def test_a_file_error_reaches_the_caller(pools):
    class Broken(StoredTransitions):
        def rows(self, index):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        trained(pools, Broken(**vars(pools[2])))


def test_calls_end_at_chunks_and_have_nearly_equal_lengths():
    assert list(calls(0, 12, 6, 1, None)) == [(0, 6), (6, 12)]
    assert list(calls(8, 12, 6, 2, None)) == [(8, 12)]
    assert list(calls(0, 10, 10, 1, 4)) == [(0, 3), (3, 6), (6, 10)]
    assert list(calls(10, 40, 20, 2, 4)) == [(10, 14), (14, 20), (20, 26), (26, 32), (32, 40)]


def test_an_invalid_ratio_is_named(pools):
    with pytest.raises(UserError, match=r"synthetic_ratio is 1\.5"):
        TransitionStream(pools[0], pools[2], 1.5)
