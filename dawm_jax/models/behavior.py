"""Behavior cloning: the policy that recorded the data, as a distribution over actions."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dawm_jax.data.normalizer import Affine, fit_standard
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.networks.actor_critic import (
    SquashedGaussianPolicy,
    squashed_log_probability,
    squashed_sample,
)
from dawm_jax.settings import Count, Width
from dawm_jax.training.optimizer import ModelSettings
from dawm_jax.types import Array, Transition


class BehaviorState(struct.PyTreeNode):
    """A behavior policy in training."""

    params: optax.Params
    opt_state: optax.OptState
    observation: Affine  # of states
    action_dim: int = struct.field(pytree_node=False)


@dataclass(frozen=True)
class BehaviorPolicy(ModelSettings):
    """A squashed Gaussian policy trained by maximum likelihood on recorded actions.

    Raises:
        UserError: a setting is out of range.
    """

    version = 1

    steps: Count = 20_000  # gradient steps
    hidden: tuple[Width, ...] = (256, 256)
    layer_norm: bool = False  # of each hidden layer

    def init(self, key: Array, data: TransitionSet) -> BehaviorState:
        """An initial state, with a normalizer fitted to the recorded transitions of `data`."""
        observation, action = data.recorded.observation, data.recorded.action
        action_dim = action.shape[-1]
        params, opt_state = self._initialize(self._network(action_dim), key, observation[:1])
        return BehaviorState(params, opt_state, fit_standard(np.asarray(observation)), action_dim)

    def update(
        self, state: BehaviorState, batch: Transition, key: Array
    ) -> tuple[BehaviorState, dict[str, Array]]:
        """One gradient step on a batch of transitions."""
        del key
        return self._descend(self.loss, state, batch)

    def loss(self, params: optax.Params, state: BehaviorState, batch: Transition) -> Array:
        """Mean negative log-likelihood of the recorded actions."""
        mean, log_std = self._predict(params, state, batch.observation)
        return -jnp.mean(squashed_log_probability(mean, log_std, batch.action))

    def sample(self, state: BehaviorState, observation: Array, key: Array) -> Array:
        """Actions (..., action_dim) in [-1, 1], drawn for states (..., observation_dim)."""
        return squashed_sample(*self._predict(state.params, state, observation), key)

    def _predict(
        self, params: optax.Params, state: BehaviorState, observation: Array
    ) -> tuple[Array, Array]:
        network = self._network(state.action_dim)
        return network.apply(params, state.observation.normalize(observation))

    def _network(self, action_dim: int) -> SquashedGaussianPolicy:
        return SquashedGaussianPolicy(self.hidden, action_dim, self.layer_norm)
