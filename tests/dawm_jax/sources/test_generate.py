"""A source's transitions: their number, their parts and their dependencies."""

import chex
import jax
import numpy as np
import pytest
from toy_sources import Echo

from dawm_jax.data.windows import to_transitions
from dawm_jax.sources import ReturnTarget, generate
from dawm_jax.sources.generate import Synthesis, default_chunk, synthesize, synthesize_parts

ECHO = Echo()


def echo(dataset, source=ECHO, key=0, function=synthesize, **settings):
    return function(source, {}, dataset, Synthesis(**settings), jax.random.key(key))


def joined(parts):
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def recorded_returns(dataset, observations):
    """The scaled return-to-go and the numbers of the recorded steps with these observations."""
    episodes = dataset.episodes
    recorded = np.flatnonzero(np.asarray(episodes.steps_left))
    states = np.asarray(episodes.observation)[recorded]
    match = np.argmin(((observations[:, None] - states[None]) ** 2).sum(-1), axis=1)
    np.testing.assert_array_equal(states[match], observations)
    return np.asarray(episodes.return_to_go)[recorded][match] / dataset.return_scale, match


def test_quantile_zero_conditions_on_the_recorded_return(small_dataset):
    source = Echo(target=ReturnTarget(quantile=0.0))
    transitions = echo(small_dataset, source, transitions=600)
    recorded, _ = recorded_returns(small_dataset, transitions.observation)
    np.testing.assert_allclose(transitions.reward, recorded, rtol=1e-5)


def test_a_higher_recorded_return_replaces_the_target(small_dataset):
    source = Echo(target=ReturnTarget(quantile=0.5, stretch=1.1))
    transitions = echo(small_dataset, source, transitions=600)
    recorded, _ = recorded_returns(small_dataset, transitions.observation)
    steps = np.asarray(small_dataset.episodes.steps_left) > 0
    to_go = np.asarray(small_dataset.episodes.return_to_go, np.float64)[steps] / 2.0
    least = to_go.min() + 1.1 * (np.median(to_go) - to_go.min())
    assert 0.1 < np.mean(recorded > least) < 0.9
    np.testing.assert_allclose(transitions.reward, np.maximum(recorded, least), rtol=1e-5)


def test_a_target_value_conditions_every_rollout(small_dataset):
    transitions = echo(small_dataset, Echo(target=ReturnTarget(value=-0.3)), transitions=60)
    np.testing.assert_allclose(transitions.reward, -0.3)


def test_every_recorded_step_is_a_start_with_its_own_action(small_dataset):
    transitions = echo(small_dataset, transitions=4000 * 3)
    first = slice(None, None, 3)
    _, match = recorded_returns(small_dataset, transitions.observation[first])
    actions = np.asarray(to_transitions(small_dataset).action)
    np.testing.assert_array_equal(transitions.action[first], actions[match])
    counts = np.bincount(match, minlength=small_dataset.transitions)
    expected = 4000 / small_dataset.transitions
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize(
    ("terminal_at", "chunk", "expected", "valid"),
    [
        (None, None, [34], 102),  # 34 rollouts of 3 transitions
        (None, 1024, [34], 102),
        (None, 16, [16, 32, 34], 102),
        (2, 16, [16, 32, 34], 68),  # 2 of each rollout's 3 are valid
    ],
)
def test_the_number_of_transitions_in_all_and_in_parts(
    small_dataset, terminal_at, chunk, expected, valid
):
    source, settings = Echo(terminal_at=terminal_at), {"transitions": 100, "chunk": chunk}
    transitions = echo(small_dataset, source, **settings)
    assert len(transitions.reward) == valid
    assert np.mean(transitions.discount == 0) == (0 if terminal_at is None else 0.5)
    assert not transitions.recorded.any()
    parts = echo(small_dataset, source, function=synthesize_parts, **settings)
    units, parts = zip(*parts, strict=True)
    assert list(units) == expected
    chex.assert_trees_all_equal(joined(parts), transitions)


def test_another_number_of_transitions_needs_no_recompilation(small_dataset):
    traced = []

    class Watched(Echo):
        def rollout(self, states, context, keys, discount):
            traced.append(len(keys))
            return super().rollout(states, context, keys, discount)

    for transitions in (100, 200):
        echo(small_dataset, Watched(), chunk=16, transitions=transitions)
    assert traced == [16]
    echo(small_dataset, Watched(), chunk=17, transitions=100)
    assert traced == [16, 17]


def test_the_trained_states_are_arguments_of_the_compiled_program(small_dataset):
    """Otherwise they would be compiled in as constants."""

    class Checked(Echo):
        def rollout(self, states, context, keys, discount):
            for leaf in jax.tree.leaves((states, context, keys, discount)):
                assert isinstance(leaf, jax.core.Tracer)
            transitions, valid = super().rollout(states, context, keys, discount)
            return transitions.replace(reward=transitions.reward + states["shift"]), valid

    settings, key = Synthesis(transitions=30), jax.random.key(0)
    one, other = (
        synthesize(Checked(), {"shift": np.float32(shift)}, small_dataset, settings, key).reward
        for shift in (0.0, 5.0)
    )
    np.testing.assert_allclose(other, one + 5.0, rtol=1e-6)


def test_parts_from_a_later_unit_are_the_same(small_dataset):
    source = Echo(noise=1.0)
    whole = list(echo(small_dataset, source, function=synthesize_parts, transitions=100, chunk=16))
    rest = synthesize_parts(
        source, {}, small_dataset, Synthesis(100, chunk=16), jax.random.key(0), start=16
    )
    for (units, part), (expected, same) in zip(rest, whole[1:], strict=True):
        assert units == expected
        chex.assert_trees_all_equal(part, same)


def test_the_transitions_do_not_depend_on_the_chunk(small_dataset, small_source):
    key = jax.random.key(2)
    whole, parts = (
        synthesize(*small_source, small_dataset, Synthesis(100, chunk=chunk), key)
        for chunk in (1024, 9)
    )
    assert 0 < len(whole.reward) < 34 * 3  # some end in a generated terminal state
    chex.assert_trees_all_close(whole, parts, rtol=1e-7, atol=1e-3)


def test_the_key_determines_the_result(small_dataset):
    one, same, other = (
        echo(small_dataset, key=key, transitions=90).observation for key in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_the_default_chunk_follows_from_the_backend_and_the_devices(monkeypatch):
    class Six:
        size = 6

    assert default_chunk() == 2_048
    assert default_chunk(Six()) == 6 * 2_048
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert default_chunk() == 16_384
    assert default_chunk(Six()) == 6 * 16_384


OUT_OF_MEMORY = jax.errors.JaxRuntimeError(
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 6442450944 bytes."
)


@pytest.fixture
def fails(monkeypatch):
    """fails(step, when) raises the error, if any, that `when` returns in a step of each chunk.

    The step is "_generate", the call of the compiled program, or "fetch", which waits for it;
    `when` receives the units of the chunk and the number of steps that did not fail.
    """

    def fail(step, when):
        function, calls = getattr(generate, step), []

        def failing(*arguments):
            units = len(arguments[3] if step == "_generate" else arguments[0][1])
            if error := when(units, len(calls)):
                raise error
            calls.append(units)
            return function(*arguments)

        monkeypatch.setattr(generate, step, failing)

    return fail


NOISY = Echo(noise=1.0, terminal_at=2)  # of three transitions, two are valid


@pytest.mark.parametrize(
    ("step", "limits", "ends"),
    [
        ("fetch", [8], [8, 16, 24, 32, 34]),  # the first chunk, of 16 units, is too large
        ("fetch", [16, 8], [16, 24, 32, 34]),  # the second chunk is
        ("fetch", [16, 16, 1], [16, 32, 33, 34]),  # the last chunk is, until one unit is left
        ("_generate", [8], [8, 16, 24, 32, 34]),
        # The second chunk is called before the first is fetched, which is then repeated.
        ("_generate", [16, 8], [8, 16, 24, 32, 34]),
        ("_generate", [16, 16, 8], [16, 24, 32, 34]),
    ],
)
def test_a_chunk_that_does_not_fit_into_memory_is_halved(small_dataset, fails, step, limits, ends):
    """It continues after the last chunk that was yielded, with the same transitions."""
    settings = {"transitions": 100, "chunk": 16}
    expected = echo(small_dataset, NOISY, **settings)

    def too_large(units, calls):
        return OUT_OF_MEMORY if units > limits[min(calls, len(limits) - 1)] else None

    fails(step, too_large)
    parts = list(echo(small_dataset, NOISY, function=synthesize_parts, **settings))
    assert [end for end, _ in parts] == ends
    assert [len(part.reward) for _, part in parts] == [2 * n for n in np.diff([0, *ends])]
    chex.assert_trees_all_equal(joined(part for _, part in parts), expected)


@pytest.mark.parametrize("step", ["_generate", "fetch"])
def test_a_single_unit_that_does_not_fit_into_memory_is_an_error(small_dataset, fails, step):
    tried = []
    fails(step, lambda units, _: tried.append(units) or OUT_OF_MEMORY)
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        echo(small_dataset, transitions=100, chunk=6)
    assert tried == [6, 3, 1]


@pytest.mark.parametrize(
    "error", [jax.errors.JaxRuntimeError("INTERNAL: no luck"), ValueError("RESOURCE_EXHAUSTED")]
)
def test_another_error_is_not_retried(small_dataset, fails, error):
    tried = []
    fails("_generate", lambda units, _: tried.append(units) or error)
    with pytest.raises(type(error), match=str(error)):
        echo(small_dataset, transitions=100, chunk=6)
    assert tried == [6]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transitions": 0}, "transitions is 0"),
        ({"chunk": -1}, "chunk is -1"),
        ({"chunk": 0}, "chunk is 0"),
    ],
)
def test_an_invalid_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=f"^Synthesis.{message}"):
        Synthesis(**settings)
