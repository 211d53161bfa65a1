"""Classifier-free guidance (Ho & Salimans 2022): condition dropout and its use in sampling."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dawm_jax.types import Array


def condition_kept(key: Array, batch: int, dropout: float) -> Array:
    """(B,) bool; False for the share `dropout` whose condition is hidden in training."""
    return jax.random.bernoulli(key, 1.0 - dropout, (batch,))


def guided(predict: Callable[[Array, Array], Array], scale: float) -> Callable[[Array], Array]:
    """The guided prediction, scale * conditional + (1 - scale) * unconditional.

    Args:
        predict: maps x (B, ...) and keep (B,), whether the condition is seen, to a prediction.
        scale: 1 is the conditional model alone.
    """

    def guided_predict(x: Array) -> Array:
        seen = predict(x, jnp.ones(len(x), bool))
        if scale == 1.0:
            return seen
        hidden = predict(x, jnp.zeros(len(x), bool))
        return scale * seen + (1.0 - scale) * hidden

    return guided_predict
