"""How far transitions are from what an ensemble of one-step models predicts.

DiffStitch (Li et al. 2024) rejects windows by their squared deviation from one such model.
"""

import jax.numpy as jnp

from dawm_jax.models.dynamics import outcomes
from dawm_jax.models.ensemble import DynamicsEnsemble, EnsembleState
from dawm_jax.types import Array, Transition


def disagreement(
    ensemble: DynamicsEnsemble, state: EnsembleState, transitions: Transition
) -> Array:
    """The squared deviation (...) of the change of state and the reward from the elites' mean.

    The mean over features, each in units of its recorded standard deviation.

    Args:
        state: of all networks.
        transitions: arrays that start with (...).
    """
    elites = ensemble.elite(state)
    mean, _ = ensemble.predict(elites, transitions.observation, transitions.action)
    scale = elites.members.outcome.scale[0]  # the same in each network
    return jnp.mean(((outcomes(transitions) - mean.mean(axis=0)) / scale) ** 2, axis=-1)
