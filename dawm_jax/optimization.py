"""Gradient steps, and the optimizer of the models."""

from collections.abc import Callable
from typing import Any

import jax
import optax


def gradient_step(
    optimizer: optax.GradientTransformation,
    loss: Callable[..., Any],
    params: optax.Params,
    opt_state: optax.OptState,
    *inputs: Any,
    has_aux: bool = False,
) -> tuple[optax.Params, optax.OptState, Any, optax.Updates]:
    """One update of `params` on loss(params, *inputs).

    Returns:
        The new parameters and optimizer state, the loss (with what came with it), the gradient.
    """
    value, gradient = jax.value_and_grad(loss, has_aux=has_aux)(params, *inputs)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, value, gradient


def adam(
    learning_rate: float, final_learning_rate: float, steps: int
) -> optax.GradientTransformation:
    """Adam with a cosine decay over `steps`; equal learning rates keep it constant."""
    alpha = final_learning_rate / learning_rate
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps, alpha))
