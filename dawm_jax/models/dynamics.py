"""A Gaussian one-step dynamics model (PETS, Chua et al. 2018): the baseline for DAWM's windows."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dawm_jax.data.normalizer import Affine, fit_standard
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.errors import require_choice
from dawm_jax.models.inverse_dynamics import ACTIVATIONS
from dawm_jax.networks.blocks import MLP
from dawm_jax.settings import Width
from dawm_jax.training.optimizer import ModelSettings
from dawm_jax.types import Array, Transition


class OneStepState(struct.PyTreeNode):
    """A one-step model in training."""

    params: optax.Params
    opt_state: optax.OptState
    observation: Affine  # of states
    outcome: Affine  # of the change of state in one step, and the reward


@dataclass(frozen=True)
class OneStepModel(ModelSettings):
    """An MLP that predicts a Gaussian of the next change of state and reward.

    Raises:
        UserError: a setting is out of range or names an unknown choice.
    """

    version = 1

    hidden: tuple[Width, ...] = (256, 256)
    activation: str = "relu"
    layer_norm: bool = False  # of each hidden layer

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("activation", self.activation, ACTIVATIONS)

    def init(self, key: Array, data: TransitionSet) -> OneStepState:
        """An initial state, with normalizers fitted to the recorded transitions of `data`."""
        recorded = data.recorded
        outcome = np.asarray(outcomes(recorded))
        inputs = jnp.zeros((1, recorded.observation.shape[-1] + recorded.action.shape[-1]))
        params, opt_state = self._initialize(self._network(outcome.shape[-1]), key, inputs)
        return OneStepState(
            params=params,
            opt_state=opt_state,
            observation=fit_standard(np.asarray(recorded.observation)),
            outcome=fit_standard(outcome),
        )

    def update(
        self, state: OneStepState, batch: Transition, key: Array
    ) -> tuple[OneStepState, dict[str, Array]]:
        """One gradient step on a batch of transitions."""
        del key
        return self._descend(self.loss, state, batch)

    def loss(self, params: optax.Params, state: OneStepState, batch: Transition) -> Array:
        """Mean negative log-likelihood of the normalized outcome, without its constant."""
        outcome = state.outcome.normalize(outcomes(batch))
        mean, log_std = self.predict(params, state, batch.observation, batch.action)
        chex.assert_equal_shape([outcome, mean, log_std])
        return jnp.mean(0.5 * ((outcome - mean) / jnp.exp(log_std)) ** 2 + log_std)

    def predict(
        self, params: optax.Params, state: OneStepState, observation: Array, action: Array
    ) -> tuple[Array, Array]:
        """Mean and log standard deviation (..., observation_dim + 1) of the normalized outcome."""
        inputs = jnp.concatenate([state.observation.normalize(observation), action], axis=-1)
        size = state.outcome.low.shape[-1]
        mean, log_std = jnp.split(self._network(size).apply(params, inputs), 2, axis=-1)
        return mean, jnp.clip(log_std, -5.0, 2.0)

    def step(self, state: OneStepState, observation: Array, action: Array) -> tuple[Array, Array]:
        """The expected next states (B, observation_dim) and rewards (B,)."""
        mean, _ = self.predict(state.params, state, observation, action)
        outcome = state.outcome.unnormalize(mean)
        return observation + outcome[:, :-1], outcome[:, -1]

    def roll_out(
        self, state: OneStepState, observation: Array, actions: Array
    ) -> tuple[Array, Array]:
        """Expected states and rewards under given actions, each step from the previous one.

        Args:
            observation: (B, observation_dim) the initial states.
            actions: (B, T - 1, action_dim).

        Returns:
            States (B, T, observation_dim), the initial ones first, and rewards (B, T - 1).
        """

        def one_step(observation: Array, action: Array) -> tuple[Array, tuple[Array, Array]]:
            next_observation, reward = self.step(state, observation, action)
            return next_observation, (next_observation, reward)

        _, (states, rewards) = jax.lax.scan(one_step, observation, actions.swapaxes(0, 1))
        return jnp.concatenate([observation[:, None], states.swapaxes(0, 1)], axis=1), rewards.T

    def _network(self, features: int) -> MLP:
        widths = (*self.hidden, 2 * features)
        return MLP(widths, ACTIVATIONS[self.activation], layer_norm=self.layer_norm)


def outcomes(transitions: Transition) -> Array:
    """Change of state and reward, (..., observation_dim + 1)."""
    change = transitions.next_observation - transitions.observation
    return jnp.concatenate([change, transitions.reward[..., None]], axis=-1)
