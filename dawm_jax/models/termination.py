"""A classifier of terminal states, trained on where recorded episodes end."""

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
    held_out: Transition  # (H, ...) transitions that are not trained on, of both classes


@dataclass(frozen=True)
class TerminationModel(ModelSettings):
    """An MLP from a state that was reached to whether it is terminal.

    Terminal states are rare, so they are half of each batch. The logit learnt from such batches is
    then shifted, by held-out transitions, to where as many of them are classified as terminal as
    are recorded to be: the shift that the recorded rate alone gives misses many, as the model has
    seen few and is too sure of those.

    Data without a terminal state have none predicted; data with nothing else have all.

    Raises:
        UserError: a setting is out of range.
    """

    version = 2

    steps: Count = 20_000  # gradient steps
    hidden: tuple[Width, ...] = (256, 256)
    layer_norm: bool = False  # of each hidden layer
    held_out: Count = 10_000  # transitions of each class not trained on; at most a fifth of it

    def data(self, transitions: Transition) -> HoldoutSet:
        """What the model is trained on, of recorded transitions."""
        return HoldoutSet.of(transitions, self.held_out, np.asarray(_ends(transitions)))

    def init(self, key: Array, data: HoldoutSet) -> TerminationState:
        """An initial state, with a normalizer fitted to the recorded next states."""
        following = data.transitions.next_observation
        params, opt_state = self._untrained(self._network, key, jnp.zeros_like(following[:1]))
        return TerminationState(
            params=params,
            opt_state=opt_state,
            observation=fit_standard(np.asarray(following)),
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
        """Binary cross-entropy; the transitions of either class weigh half, together."""
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
        """The logit () above which the share of terminal states is the recorded one.

        The share is that of the held-out transitions, each class weighted by its recorded rate.
        The threshold is in the middle between the logits on either side. It is found where it is
        used, by one prediction of these transitions, so it is that of the final parameters.
        """
        logit = self._logit(state.params, state, state.held_out.next_observation)
        ends = _ends(state.held_out)
        share = jnp.mean(ends)
        rate = jnp.where(ends, state.rate, 1.0 - state.rate)
        weight = rate / jnp.where(ends, share, 1.0 - share) / len(ends)
        falling = jnp.argsort(-logit)
        above = jnp.append(0.0, jnp.cumsum(weight[falling]))  # of the first 0, 1, ... of them
        count = jnp.argmin(jnp.abs(above - state.rate))
        edges = jnp.concatenate([jnp.array([jnp.inf]), logit[falling], jnp.array([-jnp.inf])])
        return (edges[count] + edges[count + 1]) / 2.0

    def _logit(self, params: optax.Params, state: TerminationState, observation: Array) -> Array:
        return self._network.apply(params, state.observation.normalize(observation))[..., 0]

    @property
    def _network(self) -> MLP:
        return MLP((*self.hidden, 1), nn.silu, layer_norm=self.layer_norm)


def _ends(transitions: Transition) -> Array:
    return transitions.discount == 0.0
