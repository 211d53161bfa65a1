"""A penalty for falls in the return-to-go that conditions a model."""

from dataclasses import replace

import jax.numpy as jnp

from dawm_jax.types import Dataset


def penalized(dataset: Dataset, penalty: float) -> Dataset:
    """The data set with the return-to-go that it would have if falls cost `penalty`.

    As if the last reward of each episode that ends in a terminal state were lower by `penalty`
    (Decision Diffuser, Ajay et al. 2022: 100); the rewards themselves stay.
    """
    if penalty == 0.0:
        return dataset
    episodes = dataset.episodes
    before = episodes.terminated & (episodes.steps_left > 0)
    cost = penalty * dataset.discount ** (episodes.steps_left - 1)
    to_go = episodes.return_to_go - jnp.where(before, cost, 0.0)
    return replace(dataset, episodes=episodes.replace(return_to_go=to_go))
