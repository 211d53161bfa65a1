"""A classifier of terminal states, trained on the ends of recorded episodes."""

from dataclasses import dataclass

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dawm_jax.data.normalizer import Affine, fit_standard
from dawm_jax.models.holdout_set import HoldoutSet, take
from dawm_jax.networks.blocks import MLP
from dawm_jax.settings import Count, Width
from dawm_jax.training.optimizer import ModelSettings
from dawm_jax.types import Array, Transition


class TerminationState(struct.PyTreeNode):
    """A termination model in training."""

    params: optax.Params
    opt_state: optax.OptState
    observation: Affine  # of next states
    rate: Array  # () share of the recorded transitions that end in a terminal state
    held_out: Transition  # (H, ...) held-out transitions of both classes


@dataclass(frozen=True)
class TerminationModel(ModelSettings):
    """An MLP that predicts whether a state is terminal.

    Terminal states are rare, so they make up half of each batch. The logit learnt from such batches
    is then shifted so that the share of held-out transitions classified as terminal equals the
    recorded share. A shift by the recorded rate alone would miss many terminal states, because the
    model has seen few and is overconfident.

    If no recorded state is terminal, none is predicted; if all are, all are predicted.

    Raises:
        UserError: a setting is out of range.
    """

    version = 2

    steps: Count = 20_000  # gradient steps
    hidden: tuple[Width, ...] = (256, 256)
    layer_norm: bool = False  # of each hidden layer
    held_out: Count = 10_000  # transitions held out of each class; at most a fifth of it

    def data(self, transitions: Transition) -> HoldoutSet:
        """The training data: recorded transitions, some of which are held out."""
        return HoldoutSet.of(transitions, self.held_out, np.asarray(_ends(transitions)))

    def init(self, key: Array, data: HoldoutSet) -> TerminationState:
        """An initial state, with a normalizer fitted to the recorded next states."""
        states = data.transitions.next_observation
        params, opt_state = self._initialize(self._network, key, jnp.zeros_like(states[:1]))
        return TerminationState(
            params=params,
            opt_state=opt_state,
            observation=fit_standard(np.asarray(states)),
            rate=jnp.mean(_ends(data.transitions)),
            held_out=take(data.transitions, data.held_out),
        )

    def update(
        self, state: TerminationState, batch: Transition, key: Array
    ) -> tuple[TerminationState, dict[str, Array]]:
        """One gradient step on a batch of transitions."""
        del key
        return self._descend(self.loss, state, batch)

    def loss(self, params: optax.Params, state: TerminationState, batch: Transition) -> Array:
        """Binary cross-entropy in which each class has half of the total weight."""
        logit = self._logit(params, state, batch.next_observation)
        ends = _ends(batch)
        chex.assert_equal_shape([logit, ends])
        share = jnp.mean(ends)
        weight = 0.5 / jnp.where(ends, share, 1.0 - share)
        return jnp.mean(weight * optax.sigmoid_binary_cross_entropy(logit, ends))

    def probability(self, state: TerminationState, observation: Array) -> Array:
        """The probability (...) that the states (..., observation_dim) are terminal."""
        return jax.nn.sigmoid(self._logit(state.params, state, observation) - self.threshold(state))

    def terminal(self, state: TerminationState, observation: Array) -> Array:
        """Whether the probability is above one half, (...) bool."""
        return self.probability(state, observation) > 0.5

    def threshold(self, state: TerminationState) -> Array:
        """The logit () that separates the recorded share of terminal states from the rest.

        The share is that of the held-out transitions, each class weighted by its recorded rate. The
        threshold lies halfway between the logits on either side. It is computed on use, by one
        prediction of these transitions, so it is that of the final parameters.
        """
        logit = self._logit(state.params, state, state.held_out.next_observation)
        ends = _ends(state.held_out)
        share = jnp.mean(ends)
        rate = jnp.where(ends, state.rate, 1.0 - state.rate)
        weight = rate / jnp.where(ends, share, 1.0 - share) / len(ends)
        descending = jnp.argsort(-logit)
        above = jnp.append(0.0, jnp.cumsum(weight[descending]))  # of the first 0, 1, ... rows
        count = jnp.argmin(jnp.abs(above - state.rate))
        edges = jnp.concatenate([jnp.array([jnp.inf]), logit[descending], jnp.array([-jnp.inf])])
        return (edges[count] + edges[count + 1]) / 2.0

    def _logit(self, params: optax.Params, state: TerminationState, observation: Array) -> Array:
        return self._network.apply(params, state.observation.normalize(observation))[..., 0]

    @property
    def _network(self) -> MLP:
        return MLP((*self.hidden, 1), nn.silu, layer_norm=self.layer_norm)


def _ends(transitions: Transition) -> Array:
    return transitions.discount == 0.0
