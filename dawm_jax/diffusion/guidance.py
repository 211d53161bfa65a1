"""Classifier-free guidance (Ho & Salimans 2022): condition dropout and guided predictions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dawm_jax.types import Array


def condition_mask(key: Array, batch: int, dropout: float) -> Array:
    """(B,) bool; False, with probability `dropout`, where training hides the condition."""
    return jax.random.bernoulli(key, 1.0 - dropout, (batch,))


def guide(predict: Callable[[Array, Array], Array], scale: float) -> Callable[[Array], Array]:
    """The guided prediction, scale * conditional + (1 - scale) * unconditional.

    Args:
        predict: maps x (B, ...) and the condition mask (B,) to a prediction.
        scale: 1 gives the conditional prediction alone.
    """

    def guided_predict(x: Array) -> Array:
        seen = predict(x, jnp.ones(len(x), bool))
        if scale == 1.0:
            return seen
        hidden = predict(x, jnp.zeros(len(x), bool))
        return scale * seen + (1.0 - scale) * hidden

    return guided_predict
