"""Held-out episodes, for evaluation on data that no model is trained on."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.types import Array, Dataset, Episodes


def select(dataset: Dataset, episodes: np.ndarray) -> Dataset:
    """The data set restricted to `episodes` (ascending indices)."""
    first = np.cumsum(dataset.lengths + 1) - dataset.lengths - 1
    rows = np.concatenate(
        [np.arange(first[e], first[e] + dataset.lengths[e] + 1) for e in episodes]
    )
    return replace(
        dataset,
        episodes=_rows(dataset.episodes, jnp.asarray(rows)),
        lengths=dataset.lengths[episodes],
        returns=dataset.returns[episodes],
        terminated=dataset.terminated[episodes],
    )


@jax.jit
def _rows(episodes: Episodes, rows: Array) -> Episodes:
    return jax.tree.map(lambda leaf: leaf[rows], episodes)


def hold_out(dataset: Dataset, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset | None]:
    """Splits off about `fraction` of the episodes, at least one.

    Returns:
        The data set to train on and the held-out one, which is None if `fraction` is 0 or there
        is only one episode.
    """
    count = len(dataset.lengths)
    if count == 1 or fraction == 0.0:
        return dataset, None
    order = np.random.default_rng(seed).permutation(count)
    split = int(np.clip(round(fraction * count), 1, count - 1))
    return select(dataset, np.sort(order[split:])), select(dataset, np.sort(order[:split]))
