"""An ensemble of Gaussian one-step models (PETS, Chua et al. 2018), as MOPO uses it.

MOPO: Yu et al. 2020, arXiv 2005.13239. Unlike in its code, networks train for a fixed number
of updates without weight decay or spectral norm, each on its own batches instead of a bootstrap.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.errors import require, require_choice
from dawm_jax.models.dynamics import OneStepModel, OneStepState, outcomes
from dawm_jax.models.holdout_set import HoldoutSet, take
from dawm_jax.models.inverse_dynamics import ACTIVATIONS
from dawm_jax.settings import Count, Few, Width
from dawm_jax.training.optimizer import ModelSettings
from dawm_jax.types import Array, Transition

MARGIN = 0.1  # share of a recorded range by which predictions may exceed it at either end


class EnsembleState(struct.PyTreeNode):
    """An ensemble in training, or its elites."""

    members: OneStepState  # all networks, along a leading axis
    held_out: Transition  # (H, ...) rows that no network is trained on
    observation_range: tuple[Array, Array]  # (observation_dim,) bounds of a next state
    outcome_range: tuple[Array, Array]  # (observation_dim + 1,) bounds of its change and the reward


@dataclass(frozen=True)
class DynamicsEnsemble(ModelSettings):
    """Networks that each predict a Gaussian of the next change of state and reward.

    The defaults are MOPO's: 7 networks of 4 hidden layers, 5 elites, 1,000 held-out transitions.

    Raises:
        UserError: a setting is out of range or names an unknown choice, or there are more elites
            than networks.
    """

    version = 2

    steps: Count = 100_000  # gradient steps of each network
    networks: Few = 7
    elites: Few = 5  # networks that predict: those with the lowest held-out loss
    held_out: Count = 1_000  # transitions that no network is trained on; at most a fifth of all
    hidden: tuple[Width, ...] = (200, 200, 200, 200)
    activation: str = "silu"
    layer_norm: bool = False  # of each hidden layer

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.elites <= self.networks,
            f"DynamicsEnsemble.elites is {self.elites}; "
            f"it must not exceed networks, {self.networks}",
        )
        require_choice("activation", self.activation, ACTIVATIONS)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.networks, self.batch_size)

    def data(self, transitions: Transition) -> HoldoutSet:
        """The training data: recorded transitions, some of which are held out."""
        return HoldoutSet.of(transitions, self.held_out)

    def init(self, key: Array, data: HoldoutSet) -> EnsembleState:
        """An initial state, with normalizers fitted to the training rows."""
        training = take(data.transitions, data.rows)
        keys = jax.random.split(key, self.networks)
        return EnsembleState(
            members=jax.vmap(self._network.init, (0, None))(keys, TransitionSet(training)),
            held_out=take(data.transitions, data.held_out),
            observation_range=_range(training.observation, training.next_observation),
            outcome_range=_range(outcomes(training)),
        )

    def update(
        self, state: EnsembleState, batch: Transition, key: Array
    ) -> tuple[EnsembleState, dict[str, Array]]:
        """One gradient step of each network on its own batch, transitions (networks, B, ...)."""
        update = jax.vmap(self._network.update, (0, 0, None))
        members, metrics = update(state.members, batch, key)
        return state.replace(members=members), jax.tree.map(jnp.mean, metrics)

    def held_out_loss(self, state: EnsembleState) -> Array:
        """Each network's negative log-likelihood (networks,) of the held-out rows."""

        def loss(member: OneStepState) -> Array:
            return self._network.loss(member.params, member, state.held_out)

        return jax.vmap(loss)(state.members)

    def elite(self, state: EnsembleState) -> EnsembleState:
        """The state of the elites alone, the best first.

        They are selected on use, not during training: it takes one prediction of the held-out
        rows, and the losses are those of the final parameters.
        """
        best = jnp.argsort(self.held_out_loss(state))[: self.elites]
        return state.replace(members=jax.tree.map(lambda leaf: leaf[best], state.members))

    def predict(
        self, state: EnsembleState, observation: Array, action: Array
    ) -> tuple[Array, Array]:
        """Mean and standard deviation of the change of state and the reward, by each network.

        Args:
            observation: (..., observation_dim).
            action: (..., action_dim).

        Returns:
            Both (networks, ..., observation_dim + 1), in the data's units.
        """

        def predict(member: OneStepState) -> tuple[Array, Array]:
            mean, log_std = self._network.predict(member.params, member, observation, action)
            return member.outcome.unnormalize(mean), member.outcome.scale * jnp.exp(log_std)

        return jax.vmap(predict)(state.members)

    def sample(
        self, state: EnsembleState, observation: Array, action: Array, key: Array
    ) -> tuple[Array, Array, Array]:
        """The next state and reward, drawn from one of the networks, chosen at random.

        The change, the reward and the next state are clipped to their recorded ranges, extended by
        MARGIN at both ends.

        Args:
            state: usually that of the elites.
            observation: (observation_dim,).
            action: (action_dim,).

        Returns:
            The next state (observation_dim,), the reward (), and MOPO's penalty () (section 4.3):
            the largest norm, over the networks, of the standard deviation of state and reward, in
            the data's units.
        """
        mean, std = self.predict(state, observation, action)
        network_key, noise_key = jax.random.split(key)
        network = jax.random.randint(network_key, (), 0, len(mean))
        noise = jax.random.normal(noise_key, mean.shape[1:])
        outcome = jnp.clip(mean[network] + std[network] * noise, *state.outcome_range)
        next_observation = jnp.clip(observation + outcome[:-1], *state.observation_range)
        return next_observation, outcome[-1], jnp.linalg.norm(std, axis=-1).max()

    @property
    def _network(self) -> OneStepModel:
        return OneStepModel(
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            batch_size=self.batch_size,
            steps=self.steps,
            hidden=self.hidden,
            activation=self.activation,
            layer_norm=self.layer_norm,
        )


def _range(*values: Array) -> tuple[Array, Array]:
    """The range of each feature of `values` (N, features), extended by MARGIN at both ends."""
    low, high = np.min(values, (0, 1)), np.max(values, (0, 1))
    margin = MARGIN * (high - low)
    return jnp.asarray(low - margin), jnp.asarray(high + margin)
