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
from dawm_jax.training.optimizer import ModelSettings, gradient_step
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
    """An MLP that predicts from a state, an action and the next state whether that is terminal.

    Terminal states are rare, so they make up half of each batch. The logit learnt from such batches
    is then shifted so that the share of held-out transitions classified as terminal equals the
    recorded share. A shift by the recorded rate alone would miss many terminal states, because the
    model has seen few and is overconfident.

    If no recorded state is terminal, none is predicted; if all are, all are predicted.

    Raises:
        UserError: a setting is out of range.
    """

    version = 1

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
        inputs = jnp.zeros((1, 2 * states.shape[-1] + data.transitions.action.shape[-1]))
        params, opt_state = self._initialize(self._network, key, inputs)
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
        params, opt_state, loss, _ = gradient_step(
            self._optimizer, self.loss, state.params, state.opt_state, state, batch
        )
        return state.replace(params=params, opt_state=opt_state), {"loss": loss}

    def loss(self, params: optax.Params, state: TerminationState, batch: Transition) -> Array:
        """Binary cross-entropy in which each class has half of the total weight."""
        logit = self._logit_of(params, state, batch)
        ends = _ends(batch)
        chex.assert_equal_shape([logit, ends])
        share = jnp.mean(ends)
        weight = 0.5 / jnp.where(ends, share, 1.0 - share)
        return jnp.mean(weight * optax.sigmoid_binary_cross_entropy(logit, ends))

    def probability(
        self, state: TerminationState, observation: Array, action: Array, next_observation: Array
    ) -> Array:
        """The probability (...) that `next_observation` (..., observation_dim) is terminal.

        Args:
            observation: (..., observation_dim) the previous state.
            action: (..., action_dim) the action taken in it.
        """
        logit = self._logit(state.params, state, observation, action, next_observation)
        return jax.nn.sigmoid(logit - self.threshold(state))

    def terminal(
        self, state: TerminationState, observation: Array, action: Array, next_observation: Array
    ) -> Array:
        """Whether the probability is above one half, (...) bool."""
        return self.probability(state, observation, action, next_observation) > 0.5

    def threshold(self, state: TerminationState) -> Array:
        """The logit () that separates the recorded share of terminal states from the rest.

        The share is that of the held-out transitions, each class weighted by its recorded rate. The
        threshold lies halfway between the logits on either side. It is computed on use, by one
        prediction of these transitions, so it is that of the final parameters.
        """
        logit = self._logit_of(state.params, state, state.held_out)
        ends = _ends(state.held_out)
        share = jnp.mean(ends)
        rate = jnp.where(ends, state.rate, 1.0 - state.rate)
        weight = rate / jnp.where(ends, share, 1.0 - share) / len(ends)
        descending = jnp.argsort(-logit)
        above = jnp.append(0.0, jnp.cumsum(weight[descending]))  # of the first 0, 1, ... rows
        count = jnp.argmin(jnp.abs(above - state.rate))
        edges = jnp.concatenate([jnp.array([jnp.inf]), logit[descending], jnp.array([-jnp.inf])])
        return (edges[count] + edges[count + 1]) / 2.0

    def _logit_of(self, params: optax.Params, state: TerminationState, batch: Transition) -> Array:
        return self._logit(params, state, batch.observation, batch.action, batch.next_observation)

    def _logit(
        self,
        params: optax.Params,
        state: TerminationState,
        observation: Array,
        action: Array,
        next_observation: Array,
    ) -> Array:
        states = (state.observation.normalize(s) for s in (observation, next_observation))
        inputs = jnp.concatenate([*states, action], axis=-1)
        return self._network.apply(params, inputs)[..., 0]

    @property
    def _network(self) -> MLP:
        return MLP((*self.hidden, 1), nn.silu, layer_norm=self.layer_norm)


def _ends(transitions: Transition) -> Array:
    return transitions.discount == 0.0
