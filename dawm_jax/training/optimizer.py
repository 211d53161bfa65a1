"""Gradient steps, and the optimizer that all models share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import flax.linen as nn
import jax
import optax

from dawm_jax.settings import BatchSize, Count, LearningRate, check_settings
from dawm_jax.types import Array

State = TypeVar("State", bound=Any)  # with `params`, `opt_state` and `replace`


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
        The new parameters and optimizer state, the loss (with its auxiliary output), the gradient.
    """
    value, gradient = jax.value_and_grad(loss, has_aux=has_aux)(params, *inputs)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, value, gradient


@dataclass(frozen=True)
class ModelSettings:
    """Settings of a model's training: Adam with a cosine decay of the learning rate.

    If both learning rates are equal, the rate is constant.

    Raises:
        UserError: a setting is out of range.
    """

    learning_rate: LearningRate = 1e-3
    final_learning_rate: LearningRate = 1e-5
    batch_size: BatchSize = 256
    steps: Count = 10_000  # gradient steps

    version: ClassVar[int]
    updates_per_step = 1

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.batch_size,)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        alpha = self.final_learning_rate / self.learning_rate
        return optax.adam(optax.cosine_decay_schedule(self.learning_rate, self.steps, alpha))

    def _descend(
        self, loss: Callable[..., Array], state: State, batch: Any
    ) -> tuple[State, dict[str, Array]]:
        """The state after a step on `loss(params, state, batch)`, and the loss as its metrics."""
        params, opt_state, value, _ = gradient_step(
            self._optimizer, loss, state.params, state.opt_state, state, batch
        )
        return state.replace(params=params, opt_state=opt_state), {"loss": value}

    def _initialize(
        self, network: nn.Module, key: Array, *inputs: Array
    ) -> tuple[optax.Params, optax.OptState]:
        """Initial parameters for inputs of these shapes, and the optimizer's state.

        This is one compiled program: op by op, a deep network takes seconds to initialize.
        """

        @jax.jit
        def init(key: Array, *inputs: Array) -> tuple[optax.Params, optax.OptState]:
            params = network.init(key, *inputs)
            return params, self._optimizer.init(params)

        return init(key, *inputs)
