"""Classifier-free guidance (Ho & Salimans 2022): condition dropout and its use in sampling."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dawm_jax.types import Array

TOGETHER = 128  # rows, up to which both predictions are one pass of twice the rows


def condition_kept(key: Array, batch: int, dropout: float) -> Array:
    """(B,) bool; False for the share `dropout` whose condition is hidden in training."""
    return jax.random.bernoulli(key, 1.0 - dropout, (batch,))


def guided(predict: Callable[[Array, Array], Array], scale: float) -> Callable[[Array], Array]:
    """The guided prediction, scale * conditional + (1 - scale) * unconditional.

    Args:
        predict: maps x (B, ...) and keep (B,), whether the condition is seen, to a prediction;
            or x (2 B, ...), each row of it twice, and keep (2 B,).
        scale: 1 is the conditional model alone.
    """

    def guided_predict(x: Array) -> Array:
        rows = len(x)
        if scale == 1.0:
            return predict(x, jnp.ones(rows, bool))
        if rows <= TOGETHER:  # next to each other, so that a row stays on its device
            both = predict(jnp.repeat(x, 2, axis=0), jnp.arange(2 * rows) % 2 == 0)
            seen, hidden = both[::2], both[1::2]
        else:
            seen, hidden = predict(x, jnp.ones(rows, bool)), predict(x, jnp.zeros(rows, bool))
        return scale * seen + (1.0 - scale) * hidden

    return guided_predict
