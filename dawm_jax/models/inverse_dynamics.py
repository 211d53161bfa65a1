"""The inverse dynamics model of Decision Diffuser (Ajay et al. 2022): the action between states."""

from dataclasses import dataclass

import chex
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dawm_jax.data.normalizer import Normalizer, fit_standard
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.errors import require_choice
from dawm_jax.networks.blocks import MLP
from dawm_jax.settings import Dropout, Width
from dawm_jax.training.optimizer import ModelSettings, gradient_step
from dawm_jax.types import Array, Transition

ACTIVATIONS = {"relu": nn.relu, "silu": nn.silu}


class InverseDynamicsState(struct.PyTreeNode):
    """An inverse dynamics model in training."""

    params: optax.Params
    opt_state: optax.OptState
    observation: Normalizer  # of states
    change: Normalizer  # of the change of state in one step
    action_dim: int = struct.field(pytree_node=False)


@dataclass(frozen=True)
class InverseDynamics(ModelSettings):
    """An MLP that predicts the action from a state and the scaled change to the next state.

    Raises:
        UserError: a setting is out of range or names an unknown choice.
    """

    version = 1

    hidden: tuple[Width, ...] = (512, 512, 512)
    dropout: Dropout = 0.0
    activation: str = "silu"  # smooth, as motion is

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("activation", self.activation, ACTIVATIONS)

    def init(self, key: Array, data: TransitionSet) -> InverseDynamicsState:
        """An initial state, with normalizers fitted to the recorded transitions of `data`."""
        observation, next_observation, action = (
            np.asarray(getattr(data.recorded, name))
            for name in ("observation", "next_observation", "action")
        )
        inputs = jnp.zeros((1, 2 * observation.shape[-1]))
        params, opt_state = self._initialize(self._network(action.shape[-1]), key, inputs)
        return InverseDynamicsState(
            params=params,
            opt_state=opt_state,
            observation=fit_standard(observation),
            change=fit_standard(next_observation - observation),
            action_dim=action.shape[-1],
        )

    def update(
        self, state: InverseDynamicsState, batch: Transition, key: Array
    ) -> tuple[InverseDynamicsState, dict[str, Array]]:
        """One gradient step on a batch of transitions."""
        params, opt_state, loss, _ = gradient_step(
            self._optimizer, self.loss, state.params, state.opt_state, state, batch, key
        )
        return state.replace(params=params, opt_state=opt_state), {"loss": loss}

    def loss(
        self, params: optax.Params, state: InverseDynamicsState, batch: Transition, key: Array
    ) -> Array:
        """Mean squared error of the action, in its [-1, 1] scale."""
        inputs = self._inputs(state, batch.observation, batch.next_observation)
        network = self._network(state.action_dim)
        predicted = network.apply(params, inputs, deterministic=False, rngs={"dropout": key})
        chex.assert_equal_shape([predicted, batch.action])
        return jnp.mean((predicted - batch.action) ** 2)

    def predict(
        self, state: InverseDynamicsState, observation: Array, next_observation: Array
    ) -> Array:
        """Actions (..., action_dim) between states (..., observation_dim), clipped to [-1, 1]."""
        inputs = self._inputs(state, observation, next_observation)
        return jnp.clip(self._network(state.action_dim).apply(state.params, inputs), -1.0, 1.0)

    def _inputs(
        self, state: InverseDynamicsState, observation: Array, next_observation: Array
    ) -> Array:
        change = state.change.normalize(next_observation - observation)
        return jnp.concatenate([state.observation.normalize(observation), change], axis=-1)

    def _network(self, action_dim: int) -> MLP:
        activation = ACTIVATIONS[self.activation]
        return MLP((*self.hidden, action_dim), activation, self.dropout)
