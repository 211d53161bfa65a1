"""Figures on imagined windows, beside numpy in float64 and sums done by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.evaluation.fidelity import (
    compare_windows,
    explained_at_steps,
    explained_variance,
    imagined_return,
    terminal_agreement,
    variance_ratio,
)
from dawm_jax.types import Context, Rollout


def noisy_rows(rows=1000):
    """Recorded features of two scales, worse and better predictions, and rows that count."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(rows, 2)) * [1.0, 50.0] + [3.0, 0.0]
    predicted = true + rng.normal(size=true.shape) * [0.5, 5.0]
    return predicted, true, rng.random(rows) < 0.8


def naive_share(predicted, true):
    return 1 - ((predicted - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()


def test_explained_variance_by_hand():
    true = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 5.0], [6.0, 5.0]])  # variances 5 and 4
    predicted = np.array([[1.0, 1.0], [3.0, 1.0], [5.0, 5.0], [7.0, 1.0]])  # errors 1 and 4
    found = explained_variance(predicted, true)
    assert found == {"dimensions": pytest.approx([0.8, 0.0]), "pooled": pytest.approx(0.4)}


def test_explained_variance_of_the_rows_that_count():
    predicted, true, mask = noisy_rows()
    expected = [naive_share(predicted[mask, d], true[mask, d]) for d in range(2)]
    found = explained_variance(predicted, true, mask)
    np.testing.assert_allclose(found["dimensions"], expected, rtol=1e-9)
    assert found["pooled"] == pytest.approx(np.mean(expected))
    assert found["dimensions"] != explained_variance(predicted, true)["dimensions"]


def test_the_mean_explains_nothing_and_the_truth_everything():
    _, true, _ = noisy_rows()
    mean = np.broadcast_to(true.mean(axis=0), true.shape)
    np.testing.assert_allclose(explained_variance(mean, true)["dimensions"], 0.0, atol=1e-9)
    assert explained_variance(true, true) == {"dimensions": [1.0, 1.0], "pooled": 1.0}
    assert explained_variance(true - 100.0, true)["dimensions"][0] < -1000.0


def test_constants_have_no_share_and_are_not_pooled():
    true = np.stack([np.arange(10.0), np.full(10, 7.0)], axis=1)
    wrong = true + np.array([0.0, 3.0])
    assert explained_variance(wrong, true) == {"dimensions": [1.0, None], "pooled": 1.0}
    assert explained_variance(wrong[:, 1:], true[:, 1:]) == {"dimensions": [None], "pooled": None}


def test_no_rows_have_no_share():
    nothing = {"dimensions": [None, None], "pooled": None}
    assert explained_variance(np.ones((4, 2)), np.eye(4, 2), np.zeros(4, bool)) == nothing
    assert explained_variance(np.ones((0, 2)), np.ones((0, 2))) == nothing


def test_each_step_has_its_own_share():
    predicted, true, mask = (part.reshape(-1, 4, *part.shape[1:]) for part in noisy_rows())
    mask[:, 3] = False
    found = explained_at_steps(predicted, true, mask)
    for t in range(3):
        rows = mask[:, t]
        expected = [naive_share(predicted[rows, t, d], true[rows, t, d]) for d in range(2)]
        np.testing.assert_allclose(found["dimensions"][t], expected, rtol=1e-9)
        assert found["pooled"][t] == pytest.approx(np.mean(expected))
    assert found["pooled"][3:] == [None]
    assert found["dimensions"][3:] == [[None, None]]


def test_variance_ratio_by_hand():
    """Steps count together; so a constant state that differs from step to step varies."""
    true = np.array([[[0.0, 1.0, 2.0], [4.0, 3.0, 2.0]], [[8.0, 5.0, 2.0], [99.0, 99.0, 2.0]]])
    generated = np.array([[[1.0, 9.0, 0.0], [3.0, 9.0, 1.0]], [[5.0, 9.0, 5.0], [0.0, 0.0, 0.0]]])
    mask = np.array([[True, True], [True, False]])
    found = variance_ratio(generated, true, mask)  # of (1, 3, 5) to (0, 4, 8), of 9 to (1, 3, 5)
    assert found["dimensions"][:2] == pytest.approx([0.25, 0.0])
    assert found["dimensions"][2] is None
    assert found["pooled"] == pytest.approx(0.125)
    constant = np.ones((5, 2, 1))
    mask = np.ones((5, 2), bool)
    assert variance_ratio(constant, constant, mask) == {"dimensions": [None], "pooled": None}


def test_terminal_agreement_counts():
    true = np.array([True, True, True, True, False, False, False, False])
    predicted = np.array([True, True, False, False, True, False, False, False])
    assert terminal_agreement(true, predicted) == {
        "precision": pytest.approx(2 / 3),
        "recall": 0.5,
        "base_rate": 0.5,
    }
    none, some = np.zeros(4, bool), np.array([True, False, False, False])
    assert terminal_agreement(none, some) == {"precision": 0.0, "recall": None, "base_rate": 0.0}
    assert terminal_agreement(some, none) == {"precision": None, "recall": 0.0, "base_rate": 0.25}
    assert set(terminal_agreement(none[:0], none[:0]).values()) == {None}


@dataclass(frozen=True)
class Scripted:
    """Imagines what `script` says: (context, keys, steps (1, T)) to positions, rewards, flags."""

    script: Callable[[Context, Any, Any], tuple[Any, Any, Any]]
    horizon: int = 4

    def sample(self, state, context, keys, sampling):
        steps = jnp.arange(float(self.horizon))[None]
        shape = (len(keys), self.horizon)
        parts = (jnp.broadcast_to(x, shape) for x in self.script(context, keys, steps))
        position, reward, terminal = parts
        return Rollout(observation=position[..., None], reward=reward, terminal=terminal)


@dataclass(frozen=True)
class Difference:
    """Infers the difference of two states as the action between them."""

    def predict(self, state, observation, next_observation):
        return next_observation - observation


def obtained(
    script, windows, discount=0.5, scale=1.0, horizon=4, start=(0.0,), action=0.0, wanted=0.0
):
    """The return of `windows` imagined one after the other from each position of `start`."""
    position = jnp.array(start)
    context = Context(
        observation=position[:, None],
        action=jnp.full((len(start), 1), action),
        return_to_go=jnp.full(len(start), wanted),
    )
    models = (Scripted(script, horizon), None, Difference(), None)
    key = jax.random.key(0)
    return imagined_return(*models, context, discount, scale, key, Sampling(), windows)


@pytest.mark.parametrize("horizon", [3, 6])
def test_windows_follow_each_other_from_the_last_but_one_state(horizon):
    """Each state is one more than the one before and pays its number."""

    def script(context, keys, steps):
        position = context.observation + steps
        return position, position, False

    found = obtained(script, 3, 0.9, scale=10.0, horizon=horizon, start=(0.0, 5.0))
    paid = range(3 * (horizon - 2))
    expected = [sum(0.9**k * (k + start) for k in paid) / 10.0 for start in (0, 5)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_return_by_hand():
    """Two windows of four states each add two steps: 8 + 4/2, then 8/4 + 4/8, in units of 5."""

    def script(context, keys, steps):
        return steps, jnp.array([8.0, 4.0, 1000.0, 1000.0]), False

    np.testing.assert_allclose(obtained(script, 2, scale=5.0), [2.5], rtol=1e-6)


def test_nothing_is_paid_in_or_after_a_terminal_state():
    """State number k pays 1; states 1 to 7 end an episode in every place a window has."""

    def script(context, keys, steps):
        position = context.observation[:, :1] + steps
        return position, 1.0, position % 100 == 0

    ends = np.arange(1, 8)
    found = obtained(script, 3, discount=1.0, start=tuple(100.0 - ends))
    np.testing.assert_array_equal(found, np.minimum(ends, 6))


def test_the_next_window_begins_with_the_inferred_action():
    """The states are 0, 1, 4, 9 from the start on, so the action between the last two is 5."""

    def script(context, keys, steps):
        return context.observation + steps**2, context.action * (steps == 0), False

    found = obtained(script, 3, action=2.0)
    np.testing.assert_allclose(found, [2.0 + 5.0 / 4 + 5.0 / 16], rtol=1e-6)


@pytest.mark.parametrize("horizon", [3, 5])
def test_the_next_window_is_asked_for_what_is_left(horizon):
    """Every step pays a tenth of what the window is asked for."""

    def script(context, keys, steps):
        return steps, 0.1 * context.return_to_go[:, None] * 20.0, False

    wanted, total, factor = 3.0, 0.0, 1.0
    for _ in range(3):
        gained = sum(0.1 * wanted * 0.8**t for t in range(horizon - 2))
        total, wanted = total + factor * gained, (wanted - gained) / 0.8 ** (horizon - 2)
        factor *= 0.8 ** (horizon - 2)
    found = obtained(script, 3, discount=0.8, scale=20.0, horizon=horizon, wanted=3.0)
    np.testing.assert_allclose(found, [total], rtol=1e-5)


def test_every_window_of_every_episode_is_drawn_anew():
    def script(context, keys, steps):
        return steps, jax.vmap(jax.random.normal)(keys)[:, None], False

    found = obtained(script, 3, discount=1.0, horizon=3, start=(0.0,) * 4000)
    assert np.var(found) == pytest.approx(3.0, rel=0.1)  # 9 if the windows shared their key


def asked(context, keys, steps):
    return context.observation[:, :1] + steps, context.return_to_go[:, None], False


def test_compared_are_different_windows_and_those_imagined_from_their_context(small_windows):
    def compare(key, count):
        return compare_windows(
            Scripted(asked), None, small_windows, jax.random.key(key), count=count
        )

    everything = small_windows.at(jnp.arange(len(small_windows.starts)))
    recorded = np.sort(everything.context.return_to_go)
    window, rollout = compare(0, 10_000)
    np.testing.assert_array_equal(np.sort(window.context.return_to_go), recorded)
    np.testing.assert_array_equal(rollout.reward[:, 0], window.context.return_to_go)
    np.testing.assert_array_equal(rollout.observation[:, 0, 0], window.observation[:, 0, 0])
    some, other = compare(0, 7)[0].observation, compare(1, 7)[0].observation
    assert len(np.unique(some[:, 0, 0])) == 7
    assert (some != other).any()


@pytest.mark.parametrize("chunk", [1, 10, 13, 26, 100])
def test_compared_windows_do_not_depend_on_the_chunk(small_windows, chunk):
    def noisy(context, keys, steps):
        drawn = jax.vmap(jax.random.normal)(keys)
        return (
            context.observation[:, :1] + steps,
            context.return_to_go[:, None] + drawn[:, None],
            False,
        )

    def compare(**settings):
        model, key = Scripted(noisy), jax.random.key(3)
        return compare_windows(model, None, small_windows, key, count=26, **settings)

    expected, found = compare(), compare(chunk=chunk)
    assert len(found[1].reward) == 26
    jax.tree.map(np.testing.assert_array_equal, found, expected)
