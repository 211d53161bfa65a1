"""A quantile of the return-to-go, given a state and an action, by quantile regression."""

from dataclasses import dataclass

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dawm_jax.data.normalizer import Affine, fit_standard
from dawm_jax.networks.blocks import MLP
from dawm_jax.settings import Between, Width
from dawm_jax.training.optimizer import ModelSettings
from dawm_jax.types import Array, Dataset


class ReturnRows(struct.PyTreeNode):
    """Recorded steps with their return-to-go, to draw batches from."""

    observation: Array  # (N, observation_dim)
    action: Array  # (N, action_dim)
    return_to_go: Array  # (N,) in units of the return scale

    @classmethod
    def of(cls, dataset: Dataset) -> "ReturnRows":
        """Every recorded step."""
        episodes = dataset.episodes
        rows = jnp.asarray(np.flatnonzero(np.asarray(episodes.steps_left)))
        to_go = episodes.return_to_go[rows] / dataset.return_scale
        return cls(episodes.observation[rows], episodes.action[rows], to_go)

    def sample(self, key: Array, shape: tuple[int, ...]) -> "ReturnRows":
        """A batch of leading dimensions `shape`, drawn uniformly."""
        index = jax.random.randint(key, shape, 0, len(self.return_to_go))
        return jax.tree.map(lambda leaf: leaf[index], self)


class ReturnQuantileState(struct.PyTreeNode):
    """A model of return quantiles in training."""

    params: optax.Params
    opt_state: optax.OptState
    observation: Affine  # of states
    return_to_go: Affine  # of (1,)


@dataclass(frozen=True)
class ReturnQuantile(ModelSettings):
    """An MLP that predicts the `level` quantile of the return-to-go from a state and an action.

    Raises:
        UserError: a setting is out of range.
    """

    version = 1

    level: Between = 0.9
    hidden: tuple[Width, ...] = (256, 256)
    layer_norm: bool = False  # of each hidden layer

    def init(self, key: Array, data: ReturnRows) -> ReturnQuantileState:
        """An initial state, with normalizers fitted to the recorded steps."""
        inputs = jnp.concatenate([data.observation[:1], data.action[:1]], axis=-1)
        params, opt_state = self._initialize(self._network, key, inputs)
        return ReturnQuantileState(
            params=params,
            opt_state=opt_state,
            observation=fit_standard(np.asarray(data.observation)),
            return_to_go=fit_standard(np.asarray(data.return_to_go)[:, None]),
        )

    def update(
        self, state: ReturnQuantileState, batch: ReturnRows, key: Array
    ) -> tuple[ReturnQuantileState, dict[str, Array]]:
        """One gradient step on a batch of recorded steps."""
        del key
        return self._descend(self.loss, state, batch)

    def loss(self, params: optax.Params, state: ReturnQuantileState, batch: ReturnRows) -> Array:
        """Mean pinball loss of the standardized return-to-go (Koenker & Bassett 1978)."""
        to_go = state.return_to_go.normalize(batch.return_to_go[..., None])
        quantile = self._quantile(params, state, batch.observation, batch.action)
        chex.assert_equal_shape([to_go, quantile])
        error = to_go - quantile
        return jnp.mean(jnp.maximum(self.level * error, (self.level - 1.0) * error))

    def predict(self, state: ReturnQuantileState, observation: Array, action: Array) -> Array:
        """The quantile (...) for states (..., observation_dim) and actions (..., action_dim)."""
        quantile = self._quantile(state.params, state, observation, action)
        return state.return_to_go.unnormalize(quantile)[..., 0]

    def _quantile(
        self, params: optax.Params, state: ReturnQuantileState, observation: Array, action: Array
    ) -> Array:
        """The standardized quantile (..., 1)."""
        inputs = jnp.concatenate([state.observation.normalize(observation), action], axis=-1)
        return self._network.apply(params, inputs)

    @property
    def _network(self) -> MLP:
        return MLP((*self.hidden, 1), nn.silu, layer_norm=self.layer_norm)
