"""A Gaussian one-step dynamics model (PETS, Chua et al. 2018), rolled out: DAWM's yardstick."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.tree_util import Partial

from dawm_jax.data.normalizer import Normalizer, fit_standard
from dawm_jax.networks.blocks import MLP
from dawm_jax.settings import Width
from dawm_jax.training.optimizer import ModelSettings, gradient_step
from dawm_jax.types import Array, Transition


class OneStepState(struct.PyTreeNode):
    """A one-step model in training."""

    params: optax.Params
    opt_state: optax.OptState
    observation: Normalizer  # of states
    outcome: Normalizer  # of the change of state in one step, and the reward


@dataclass(frozen=True)
class OneStepModel(ModelSettings):
    """An MLP from a state and an action to mean and deviation of the next change and reward."""

    hidden: tuple[Width, ...] = (256, 256)

    def new(self, key: Array, transitions: Transition) -> Partial:
        """What makes the state of a new model; its normalizers are fitted to `transitions`."""
        observation, outcome = map(np.asarray, (transitions.observation, _outcome(transitions)))
        normalizers = fit_standard(observation), fit_standard(outcome)
        return Partial(self._new, key, *normalizers, transitions.action[0])

    def _new(
        self, key: Array, observation: Normalizer, outcome: Normalizer, action: Array
    ) -> OneStepState:
        network = self._network(len(outcome.low))
        inputs = jnp.zeros((1, len(observation.low) + len(action)))
        params, opt_state = self._untrained(network, key, inputs)
        return OneStepState(
            params=params, opt_state=opt_state, observation=observation, outcome=outcome
        )

    def update(
        self, state: OneStepState, batch: Transition, key: Array
    ) -> tuple[OneStepState, dict[str, Array]]:
        """One gradient step on a batch of transitions."""
        del key
        params, opt_state, loss, _ = gradient_step(
            self._optimizer, self.loss, state.params, state.opt_state, state, batch
        )
        return state.replace(params=params, opt_state=opt_state), {"loss": loss}

    def loss(self, params: optax.Params, state: OneStepState, batch: Transition) -> Array:
        """Mean negative log-likelihood of the normalized outcome, less its constant."""
        outcome = state.outcome.normalize(_outcome(batch))
        mean, log_std = self._predict(params, state, batch.observation, batch.action)
        chex.assert_equal_shape([outcome, mean, log_std])
        return jnp.mean(0.5 * ((outcome - mean) / jnp.exp(log_std)) ** 2 + log_std)

    def step(self, state: OneStepState, observation: Array, action: Array) -> tuple[Array, Array]:
        """The expected next states (B, observation_dim) and rewards (B,)."""
        mean, _ = self._predict(state.params, state, observation, action)
        outcome = state.outcome.unnormalize(mean)
        return observation + outcome[:, :-1], outcome[:, -1]

    def roll_out(
        self, state: OneStepState, observation: Array, actions: Array
    ) -> tuple[Array, Array]:
        """Expected states and rewards under given actions, each step from the one before.

        Args:
            observation: (B, observation_dim) where to start.
            actions: (B, T - 1, action_dim).

        Returns:
            States (B, T, observation_dim), the given one first, and rewards (B, T - 1).
        """

        def one_step(observation: Array, action: Array) -> tuple[Array, tuple[Array, Array]]:
            following, reward = self.step(state, observation, action)
            return following, (following, reward)

        _, (states, rewards) = jax.lax.scan(one_step, observation, actions.swapaxes(0, 1))
        return jnp.concatenate([observation[:, None], states.swapaxes(0, 1)], axis=1), rewards.T

    def _predict(
        self, params: optax.Params, state: OneStepState, observation: Array, action: Array
    ) -> tuple[Array, Array]:
        inputs = jnp.concatenate([state.observation.normalize(observation), action], axis=-1)
        size = state.outcome.low.shape[-1]
        mean, log_std = jnp.split(self._network(size).apply(params, inputs), 2, axis=-1)
        return mean, jnp.clip(log_std, -5.0, 2.0)

    def _network(self, outcomes: int) -> MLP:
        return MLP((*self.hidden, 2 * outcomes))


def _outcome(transitions: Transition) -> Array:
    """Change of state and reward, (N, observation_dim + 1)."""
    change = transitions.next_observation - transitions.observation
    return jnp.concatenate([change, transitions.reward[:, None]], axis=-1)
