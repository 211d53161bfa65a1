"""The termination model on ends of a known rule, and with logits set by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_motion import transitions
from references import float64, mlp, silu

from dawm_jax.data.normalizer import fit_standard
from dawm_jax.errors import UserError
from dawm_jax.models.termination import TerminationModel, TerminationState
from dawm_jax.training.loop import fit

SMALL = TerminationModel(hidden=(32, 32), learning_rate=3e-3, batch_size=128, steps=800)


def moves(count, seed=0):
    rng = np.random.default_rng(seed)
    observation = rng.normal(size=(count, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 0.0]
    return (
        observation,
        rng.uniform(-1, 1, (count, 2)),
        observation + 0.5 * rng.normal(size=(count, 3)),
    )


def beyond(following):
    """A rule like that of a falling robot: about 3 % of `moves` are terminal."""
    return (following[:, 0] > 2.2) | (following[:, 1] < -20.0)


def recorded(count, seed=0, rule=beyond):
    observation, action, following = moves(count, seed)
    return transitions(observation, action, following, terminal=rule(following))


def trained_on(rows, model=SMALL):
    data = model.data(rows)
    return fit(model, model.init(jax.random.key(0), data), data, jax.random.key(1))


def rates(model, state, rows):
    """Precision, recall, and the ratio of predicted to recorded ends."""
    true = np.asarray(rows.discount) == 0.0
    predicted = np.asarray(jax.jit(model.terminal)(state, rows.next_observation))
    both = (true & predicted).sum()
    return both / predicted.sum(), both / true.sum(), predicted.mean() / true.mean()


def test_rare_terminal_states_are_found():
    rows = recorded(20_000)
    state = trained_on(rows)
    share = np.mean(np.asarray(rows.discount) == 0.0)
    assert 0.01 < share < 0.04
    assert state.rate == pytest.approx(share)
    precision, recall, ratio = rates(SMALL, state, recorded(20_000, seed=1))
    assert precision > 0.9
    assert recall > 0.9
    assert abs(ratio - 1.0) < 0.1


def test_unpredictable_ends_are_predicted_as_often_as_recorded():
    """An end has probability 0, or .3 where s'_0 > 1: never more likely than not."""

    def rule(following):
        return (following[:, 0] > 1.0) & (
            np.random.default_rng(2).uniform(size=len(following)) < 0.3
        )

    state = trained_on(recorded(20_000, rule=rule))
    _, _, ratio = rates(SMALL, state, recorded(20_000, seed=1, rule=rule))
    assert abs(ratio - 1.0) < 0.3


def test_half_of_a_batch_is_terminal():
    data = SMALL.data(recorded(2_000))
    batch = data.sample(jax.random.key(0), (5, 64))
    assert ((np.asarray(batch.discount) == 0.0).sum(axis=1) == 32).all()


@pytest.mark.parametrize("ends", [1, 5, 16, 0])
def test_loss_is_the_cross_entropy_of_each_class_halved(ends):
    observation, action, following = moves(16)
    rows = transitions(observation, action, following, terminal=np.arange(16) < ends)
    fitted = recorded(100)
    state = SMALL.init(jax.random.key(0), SMALL.data(fitted))
    states = float64(fitted.next_observation)
    x = (float64(rows.next_observation) - states.mean(0)) / states.std(0)
    logit = mlp(state.params["params"], x, silu)[:, 0]
    surprise = {True: np.log1p(np.exp(-logit)), False: np.log1p(np.exp(logit))}
    label = np.asarray(rows.discount) == 0.0
    classes = [
        surprise[kind][label == kind].mean() for kind in (True, False) if (label == kind).any()
    ]
    expected = 0.5 * sum(classes)
    np.testing.assert_allclose(SMALL.loss(state.params, state, rows), expected, rtol=1e-4)


LINEAR = TerminationModel(hidden=())


def with_logits(logit, terminal, rate):
    """A state whose held-out rows have these logits, which are s'_0."""
    following = np.zeros((len(logit), 3))
    following[:, 0] = logit
    nothing = np.zeros((len(logit), 2))
    held_out = transitions(np.zeros_like(following), nothing, following, terminal=terminal)
    unit = fit_standard(np.array([[-1.0] * 3, [1.0] * 3]))
    kernel = jnp.zeros((3, 1)).at[0].set(1.0)
    params = {"params": {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(1)}}}
    return TerminationState(params, (), unit, jnp.float32(rate), held_out)


@pytest.mark.parametrize(
    ("logit", "terminal", "rate", "expected"),
    [
        ([5.0, -1.0, 3.0, -2.0], [1, 0, 1, 0], 0.3, 1.0),  # between the classes
        ([5.0, -1.0, 3.0, -2.0], [1, 0, 1, 0], 0.001, 1.0),
        ([4.0, 3.0, 2.0, 1.0, 0.0, -1.0], [1, 0, 0, 0, 1, 0], 0.5, 1.5),  # weights 1/4, 1/8, 1/8
        ([4.0, 3.0, 2.0, 1.0, 0.0, -1.0], [0, 1, 0, 1, 0, 0], 0.5, 1.5),  # 1/8, 1/4, 1/8
        ([2.0, 1.0], [0, 0], 0.0, np.inf),
        ([2.0, 1.0], [1, 1], 1.0, -np.inf),
    ],
)
def test_the_threshold_separates_the_recorded_share_of_held_out_rows(
    logit, terminal, rate, expected
):
    state = with_logits(logit, np.array(terminal, bool), rate)
    assert LINEAR.threshold(state) == pytest.approx(expected)
    probe = jnp.zeros((4, 3)).at[:, 0].set(jnp.array([-30.0, 0.7, 1.8, 30.0]))
    probability = LINEAR.probability(state, probe)
    with np.errstate(over="ignore"):
        true = 1.0 / (1.0 + np.exp(-(float64(probe)[:, 0] - expected)))
    np.testing.assert_allclose(probability, true, rtol=1e-5)
    np.testing.assert_array_equal(LINEAR.terminal(state, probe), true > 0.5)


@pytest.mark.parametrize("all_end", [False, True])
def test_a_class_without_data_is_never_predicted(all_end):
    rows = recorded(100, rule=lambda following: np.full(len(following), all_end))
    model = replace(SMALL, steps=30)
    state = trained_on(rows, model)  # raises if anything is not finite
    far = 1e4 * recorded(50, seed=1).next_observation
    np.testing.assert_array_equal(model.probability(state, far), np.full(50, float(all_end)))
    np.testing.assert_array_equal(model.terminal(state, far), np.full(50, all_end))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_rows_suffice(count):
    rows = recorded(count, rule=lambda following: np.arange(len(following)) == 0)
    model = replace(SMALL, steps=2)
    state = trained_on(rows, model)
    assert np.isfinite(model.probability(state, rows.next_observation)).all()


def test_any_leading_dimensions():
    rows = recorded(12)
    model = replace(SMALL, layer_norm=True)
    state = model.init(jax.random.key(0), model.data(recorded(100)))
    assert "LayerNorm_1" in state.params["params"]
    flat = model.probability(state, rows.next_observation)
    grid = model.probability(state, rows.next_observation.reshape(3, 4, -1))
    np.testing.assert_allclose(grid.reshape(12), flat, atol=1e-6)
    one = model.terminal(state, rows.next_observation[0])
    assert one == (flat[0] > 0.5)


def test_an_invalid_setting_is_named():
    with pytest.raises(UserError, match=r"TerminationModel\.held_out is 0"):
        TerminationModel(held_out=0)
