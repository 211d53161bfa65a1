import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.fidelity import (
    action_fidelity,
    explained_variance,
    terminal_agreement,
    window_fidelity,
)
from dawm_jax.inverse_dynamics import InverseDynamics
from dawm_jax.types import Context, Rollout, Transition, Window


def test_explained_variance_by_hand():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(1000, 3, 2)) * [1.0, 50.0]
    mask = rng.random((1000, 3)) < 0.8
    off = true + rng.normal(size=true.shape) * [0.5, 5.0]
    expected = [
        1
        - np.mean(
            [
                ((off - true)[mask[:, t], t, d] ** 2).mean() / true[mask[:, t], t, d].var()
                for d in range(2)
            ]
        )
        for t in range(3)
    ]
    np.testing.assert_allclose(explained_variance(off, true, mask), expected, rtol=1e-6)


def test_explained_variance_of_the_mean_is_zero_and_of_the_truth_one():
    true = np.random.default_rng(1).normal(size=(500, 2, 3))
    mask = np.ones((500, 2), bool)
    mean = np.broadcast_to(true.mean(axis=0), true.shape)
    np.testing.assert_allclose(explained_variance(mean, true, mask), 0.0, atol=1e-9)
    assert explained_variance(true, true, mask) == [1.0, 1.0]


def test_explained_variance_leaves_constants_and_empty_steps_out():
    true = np.zeros((10, 2, 2))
    true[:, 0, 0] = np.arange(10)
    mask = np.ones((10, 2), bool)
    mask[:, 1] = False
    assert explained_variance(true, true, mask) == [1.0, None]


def test_terminal_agreement_counts():
    true = np.array([True, True, True, False, False, False, False, False])
    predicted = np.array([True, True, False, True, False, False, False, False])
    assert terminal_agreement(true, predicted) == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "base_rate": pytest.approx(3 / 8),
    }
    none = np.zeros(4, bool)
    assert terminal_agreement(none, none) == {"precision": None, "recall": None, "base_rate": 0.0}


def test_window_fidelity_of_a_perfect_rollout():
    rng = np.random.default_rng(2)
    observation = rng.normal(size=(50, 4, 3)).astype(np.float32)
    reward = rng.normal(size=(50, 4)).astype(np.float32)
    terminal = np.zeros((50, 4), bool)
    terminal[:5, 3] = True
    window = Window(
        context=Context(observation[:, 0], np.zeros((50, 1)), np.zeros(50)),
        observation=observation,
        reward=reward,
        terminal=terminal,
        observation_mask=np.ones((50, 4), bool),
        reward_mask=~terminal,
    )
    found = window_fidelity(window, Rollout(observation, reward, terminal))
    assert found["states"] == [1.0] * 3
    assert found["rewards"] == [1.0] * 4
    assert found["changes"] == [1.0] * 3
    assert max(found["states_repeated"]) < 0.0
    assert found["variance_ratio"] == pytest.approx(1.0)
    assert found["terminals"] == {"precision": 1.0, "recall": 1.0, "base_rate": 0.1}


def test_action_fidelity_against_numpy():
    rng = np.random.default_rng(5)
    arrays = {name: jnp.asarray(rng.normal(size=(64, 3)), jnp.float32) for name in ("now", "then")}
    action = jnp.asarray(rng.uniform(-1, 1, size=(64, 2)), jnp.float32)
    zeros = jnp.zeros(64)
    data = Transition(arrays["now"], action, zeros, zeros, arrays["then"], jnp.ones(64, bool))
    model = InverseDynamics(hidden=(8,))
    state = model.init(jax.random.key(0), data)
    predicted = np.asarray(model.predict(state, arrays["now"], arrays["then"]), np.float64)
    error = ((predicted - np.asarray(action)) ** 2).sum()
    expected = 1 - error / ((np.asarray(action) - np.asarray(action).mean(0)) ** 2).sum()
    found = action_fidelity(model, state, data)
    assert found["pooled"] == pytest.approx(expected, rel=1e-4)
    assert len(found["actions"]) == 2
