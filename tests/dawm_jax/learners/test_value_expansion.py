"""Value expansion (DWM, Ding et al. 2024) as one-step learning on longer transitions.

With y = sum over h < H of gamma^h r_h + gamma^H bootstrap(s_H), the learner of the H-step target is
the plain learner on transitions whose reward is the sum and whose discount is gamma^H.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import float64, mlp

from dawm_jax.learners import TD3BC, DataStatistics
from dawm_jax.types import Transition

GAMMA, STEPS, LAMBDA = 0.9, 4, 0.95
RNG = np.random.default_rng(0)
REWARDS = RNG.normal(size=(6, STEPS))
STATES = RNG.normal(size=(6, STEPS + 1, 3))


def expanded(horizon: int, terminal: int | None = None) -> Transition:
    """The windows as transitions over `horizon` steps; state number `terminal` ends them."""
    steps = horizon if terminal is None else min(horizon, terminal)
    ended = steps == terminal
    discount = np.zeros(6) if ended else np.full(6, GAMMA**steps)
    arrays = (
        STATES[:, 0],
        np.zeros((6, 2)),
        REWARDS[:, :steps] @ GAMMA ** np.arange(steps),
        discount,
        STATES[:, steps],
    )
    return Transition(
        *(jnp.asarray(a, jnp.float32) for a in arrays),
        next_action=jnp.zeros((6, 2)),
        next_action_mask=jnp.zeros(6, bool),
        recorded=jnp.ones(6, bool),
    )


@pytest.fixture(scope="module")
def trained():
    learner = TD3BC(hidden=(8, 8), policy_noise=0.0)
    statistics = DataStatistics(jnp.zeros(3), jnp.ones(3), jnp.float32(1.0), action_dim=2)
    return learner, learner.init(jax.random.key(0), statistics)


def bootstrap(state, observation):
    """min over both target critics at the target policy's action, in float64."""
    action = np.tanh(mlp(state.target_actor["params"]["MLP_0"], observation))
    inputs = np.concatenate([observation, action], axis=1)
    twins = float64(state.target_critic)["params"]["VmapMLP_0"]
    critics = (mlp(jax.tree.map(lambda leaf, i=i: leaf[i], twins), inputs)[:, 0] for i in range(2))
    return np.minimum(*critics)


def target(trained, transition):
    learner, state = trained
    return np.asarray(learner.td_target(state, transition, jax.random.key(1)))


@pytest.mark.parametrize("horizon", [1, 3, STEPS])
def test_the_target_is_the_expanded_one(trained, horizon):
    expected = sum(GAMMA**h * REWARDS[:, h] for h in range(horizon))
    expected += GAMMA**horizon * bootstrap(trained[1], STATES[:, horizon])
    np.testing.assert_allclose(target(trained, expanded(horizon)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("horizon", [2, 3])
def test_a_terminal_inside_the_window_ends_the_sum(trained, horizon):
    expected = REWARDS[:, 0] + GAMMA * REWARDS[:, 1]
    transition = expanded(horizon, terminal=2)
    np.testing.assert_allclose(target(trained, transition), expected, rtol=1e-5)


def test_the_lambda_return_is_a_random_horizon_in_expectation(trained):
    returns = bootstrap(trained[1], STATES[:, STEPS])
    for h in reversed(range(STEPS)):
        ahead = bootstrap(trained[1], STATES[:, h + 1]) if h + 1 < STEPS else returns
        returns = REWARDS[:, h] + GAMMA * ((1 - LAMBDA) * ahead + LAMBDA * returns)
    probability = [(1 - LAMBDA) * LAMBDA ** (h - 1) for h in range(1, STEPS)]
    probability.append(LAMBDA ** (STEPS - 1))
    targets = [target(trained, expanded(h)) for h in range(1, STEPS + 1)]
    assert sum(probability) == pytest.approx(1.0)
    np.testing.assert_allclose(np.dot(probability, targets), returns, rtol=1e-4, atol=1e-5)
