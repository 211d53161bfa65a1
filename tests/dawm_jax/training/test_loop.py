"""The training loop on a toy component and on a learner."""

import re
from dataclasses import dataclass, field

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from handmade import make_dataset, make_transitions, random_episode

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import NonFiniteError, UserError
from dawm_jax.learners import BC, TD3BC, DataStatistics
from dawm_jax.training.loop import compiled_loop, fit, train, train_chunk


@struct.dataclass
class Numbers:
    values: jax.Array

    def sample(self, key, shape):
        return jax.random.choice(key, self.values, shape)


@dataclass(frozen=True)
class Walk:
    """x <- x + mean of the batch + noise; 'room' is NaN where x exceeds `limit`."""

    steps: int = 12
    updates_per_step: int = 2
    batch_shape: tuple[int, ...] = (2, 4)
    limit: float = 1e6
    traces: list = field(default_factory=list)

    def update(self, state, batch, key):
        self.traces.append(state.shape)
        state = state + batch.mean() + jax.random.normal(key)
        return state, {"x": state, "room": jnp.sqrt(self.limit - state)}


DATA = Numbers(jnp.arange(5.0))
KEY = jax.random.key(7)
KEYS = jax.random.split(KEY, 3)


def results(component, state, data=DATA, key=KEY, **settings):
    """(updates, state, metrics) after each chunk, copied from the device."""
    steps = train(component, state, data, key, **settings)
    return [(done, *jax.tree.map(np.array, (state, metrics))) for done, state, metrics in steps]


def walk_by_hand(key, calls=6):
    """The x after each call of `Walk.update`."""
    xs = [0.0]
    for call in range(calls):
        batch_key, update_key = jax.random.split(jax.random.fold_in(key, call))
        batch = np.asarray(DATA.sample(batch_key, (2, 4)))
        xs.append(xs[-1] + batch.mean() + float(jax.random.normal(update_key)))
    return np.array(xs[1:])


def test_each_call_has_its_own_randomness_and_metrics_are_means_over_the_chunk():
    updates, states, metrics = zip(*results(Walk(), jnp.zeros(()), chunk=6), strict=True)
    xs = walk_by_hand(KEY)
    assert updates == (6, 12)
    np.testing.assert_allclose(states, xs[[2, 5]], rtol=1e-5)
    np.testing.assert_allclose([m["x"] for m in metrics], xs.reshape(2, 3).mean(1), rtol=1e-5)


def test_seeds_are_trained_side_by_side():
    updates, states, metrics = zip(
        *results(Walk(), jnp.zeros(3), key=KEYS, seeds=True, chunk=6), strict=True
    )
    xs = np.stack([walk_by_hand(key) for key in KEYS])
    assert updates == (6, 12)
    np.testing.assert_allclose(states, xs[:, [2, 5]].T, rtol=1e-5)
    means = xs.reshape(3, 2, 3).mean(2)
    np.testing.assert_allclose([m["x"] for m in metrics], means.T, rtol=1e-5)


@pytest.fixture(scope="module")
def td3bc():
    """A learner, its first state, and its data."""
    rng = np.random.default_rng(0)
    dataset = make_dataset([random_episode(rng, 10, terminated=True) for _ in range(4)])
    transitions = to_transitions(dataset)
    learner = TD3BC(steps=24, batch_size=8, hidden=(16, 16), learning_rate=1e-2)
    state = jax.jit(learner.init)(jax.random.key(0), DataStatistics.of(dataset))
    return learner, state, TransitionSet(transitions)


@pytest.fixture(scope="module")
def whole(td3bc):
    return results(*td3bc)


@pytest.fixture(scope="module")
def chunks(td3bc):
    return results(*td3bc, chunk=2)


def test_results_are_bit_identical_for_any_chunk_length(whole, chunks):
    assert [done for done, *_ in whole] == [24]
    assert [done for done, *_ in chunks] == list(range(2, 25, 2))
    chex.assert_trees_all_equal(chunks[-1][1], whole[-1][1])


def test_a_resumed_run_equals_an_uninterrupted_one(td3bc, whole, chunks):
    learner, _, data = td3bc
    done, halfway, _ = chunks[3]
    rest = results(learner, halfway, data, start=done, chunk=2)
    assert [done, *(updates for updates, *_ in rest)] == list(range(8, 25, 2))
    chex.assert_trees_all_equal(rest[-1][1], whole[-1][1])


def test_a_start_within_a_chunk_trains_the_rest_of_it():
    whole = results(Walk(), jnp.zeros(()), chunk=6)
    _, halfway, _ = results(Walk(), jnp.zeros(()), chunk=2)[3]
    ((end, state, _),) = results(Walk(), halfway, start=8, chunk=6)
    assert end == 12
    np.testing.assert_array_equal(state, whole[-1][1])


@pytest.mark.parametrize("seeds", [False, True])
def test_a_nonfinite_metric_stops_the_run_and_is_named(seeds):
    """One seed is enough."""
    xs = np.stack([walk_by_hand(key) for key in (KEYS if seeds else [KEY])])
    limit = xs[:, :4].max() - 0.01  # of two chunks
    assert (xs[:, :4] > limit).any(1).sum() == 1
    seed, call = (int(i) for i in np.argwhere(xs > limit)[0])
    assert call > 0
    name = f"'room' (seed {seed} of the run)" if seeds else "'room'"
    message = f"{name} of Walk is not finite in updates {2 * call + 1} to {2 * call + 2}."
    state, key = (jnp.zeros(3), KEYS) if seeds else (jnp.zeros(()), KEY)
    with pytest.raises(NonFiniteError, match=re.escape(message)) as caught:
        results(Walk(limit=float(limit)), state, key=key, seeds=seeds, chunk=4)
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, FloatingPointError)


@dataclass(frozen=True)
class Growing(Walk):
    """A state that overflows in its seventh update, while the metrics stay finite."""

    updates_per_step: int = 1

    def update(self, state, batch, key):
        scale = state["scale"] * jnp.float32(1e6)
        return {"scale": scale, "count": state["count"] + 1}, {"loss": jnp.float32(1.0)}


@pytest.mark.parametrize("seeds", [False, True])
def test_a_nonfinite_state_stops_the_run_and_its_leaf_is_named(seeds):
    state = {"scale": jnp.float32(1.0), "count": jnp.int32(0)}
    message = r"^'state\['scale'\]' of Growing is not finite in updates 5 to 8\. Lower the learning"
    key = KEY
    if seeds:
        state = {"scale": jnp.array([0.0, 0.0, 1.0]), "count": jnp.zeros(3, jnp.int32)}
        message = message.replace("' of", "' \\(seed 2 of the run\\) of")
        key = KEYS
    chunks = train(Growing(), state, DATA, key, chunk=4, seeds=seeds)
    assert next(chunks)[0] == 4
    with pytest.raises(NonFiniteError, match=message):
        next(chunks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk": 5}, "chunk is 5 and start 0; chunk must divide the 12 updates"),
        ({"chunk": 8, "start": 2}, "chunk is 8 and start 2; chunk must divide the 12 updates"),
        ({"chunk": 6, "start": 3}, "start 3; .* start must be a multiple of updates_per_step, 2"),
        ({"chunk": 3}, "chunk is 3; it must be a positive multiple of 2"),
    ],
)
def test_an_invalid_chunk_is_rejected(settings, message):
    with pytest.raises(ValueError, match=message):
        results(Walk(), jnp.zeros(()), **settings)


@pytest.mark.parametrize("seeds", [False, True])
def test_all_chunks_share_one_compilation(seeds):
    component = Walk()
    state, key = (jnp.zeros(3), KEYS) if seeds else (jnp.zeros(()), KEY)
    assert len(results(component, state, key=key, seeds=seeds, chunk=2)) == 6
    assert component.traces == [()]


def test_data_are_an_argument_of_the_compiled_chunk():
    """Otherwise they would be compiled in as a constant."""
    drawn_from = []

    @struct.dataclass
    class Watched(Numbers):
        def sample(self, key, shape):
            drawn_from.append(self.values)
            return super().sample(key, shape)

    results(Walk(), jnp.zeros(()), data=Watched(DATA.values))
    assert isinstance(drawn_from[0], jax.core.Tracer)


@pytest.mark.parametrize("seeds", [False, True])
def test_a_state_is_donated_to_the_next_chunk_but_the_callers_is_not(seeds):
    own, key = (jnp.zeros(3), KEYS) if seeds else (jnp.zeros(()), KEY)
    chunks = train(Walk(), own, DATA, key, chunk=4, seeds=seeds)
    states = [next(chunks)[1]]
    assert not states[0].is_deleted()
    states += [state for _, state, _ in chunks]
    assert [state.is_deleted() for state in states] == [True, True, False]
    assert not own.is_deleted()
    np.testing.assert_array_equal(own, 0.0)


def test_a_state_may_hold_one_array_twice():
    """For example, a target network that initially is the network itself."""

    class Twin(Walk):
        def update(self, state, batch, key):
            fast, metrics = super().update(state["fast"], batch, key)
            return {"fast": fast, "slow": state["slow"]}, metrics

    x = jnp.zeros(())
    *_, (_, state, _) = results(Twin(), {"fast": x, "slow": x}, chunk=4)
    np.testing.assert_allclose(state["fast"], walk_by_hand(KEY)[-1], rtol=1e-5)
    assert state["slow"] == 0.0
    assert not x.is_deleted()


def test_training_twice_from_one_state_gives_the_same_result():
    """Arrays that state and caller share, as a learner's statistics, stay valid."""
    statistics = DataStatistics(jnp.zeros(3), jnp.ones(3), jnp.float32(1.0), action_dim=2)
    learner = BC(steps=2, hidden=(4,), batch_size=4)
    state = learner.init(jax.random.key(0), statistics)
    rows = np.zeros((8, 3))
    data = TransitionSet(make_transitions(rows, rows[:, :2], rows[:, 0], rows[:, 0], rows))
    first, again = (fit(learner, state, data, jax.random.key(1)) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not statistics.observation_mean.is_deleted()


def test_the_compiled_loop_donates_its_state_and_copies_less_with_identical_bits(td3bc):
    learner, state, data = td3bc
    chunk = train_chunk(learner, learner.steps)

    def arguments(state, start):
        return state, data, jax.random.key(1), jnp.int32(start)

    plain, ours = (f(chunk).lower(*arguments(state, 0)).compile() for f in (jax.jit, compiled_loop))
    expected, found = state, jax.tree.map(jnp.copy, state)
    for start in (0, 24):
        before = found
        expected, metrics = plain(*arguments(expected, start))
        found, same = ours(*arguments(found, start))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves((before.actor, before.actor_opt)))
    chex.assert_trees_all_equal((found, same), (expected, metrics))
    copies = [program.as_text().count(" copy(") for program in (plain, ours)]
    assert copies[1] < 0.9 * copies[0]
