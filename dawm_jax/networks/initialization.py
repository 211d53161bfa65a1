"""How the dense layers of an MLP are initialized: as in the code of the method that uses it."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

import flax.linen as nn
import jax

from dawm_jax.types import Array

Initializer = Callable[..., Array]  # key, shape, dtype -> parameters


class Initialization(Protocol):
    """The initializers of a layer's kernel and bias."""

    def __call__(self, inputs: int, last: bool) -> tuple[Initializer, Initializer]:
        """Those of a layer with this many inputs; `last`: whether it is the MLP's last layer."""


@dataclass(frozen=True)
class LecunNormal:
    """Normal kernels of variance 1 / inputs (LeCun et al. 1998), zero biases: Flax's default."""

    def __call__(self, inputs: int, last: bool) -> tuple[Initializer, Initializer]:
        return nn.initializers.lecun_normal(), nn.initializers.zeros


@dataclass(frozen=True)
class Uniform:
    """Kernels and biases uniform within +-1 / sqrt(inputs): PyTorch's, which TD3+BC's code uses.

    With `bias`, the biases of hidden layers are that constant; with `last`, kernel and bias of the
    last layer are within +-last instead.
    """

    bias: float | None = None
    last: float | None = None

    def __call__(self, inputs: int, last: bool) -> tuple[Initializer, Initializer]:
        if last and self.last is not None:
            return _within(self.last), _within(self.last)
        bound = _within(1.0 / sqrt(inputs))
        constant = self.bias is not None and not last
        return bound, nn.initializers.constant(self.bias) if constant else bound


@dataclass(frozen=True)
class Orthogonal:
    """Orthogonal kernels times sqrt(2) (Saxe et al. 2014), zero biases, as in IQL's code."""

    def __call__(self, inputs: int, last: bool) -> tuple[Initializer, Initializer]:
        return _one_by_one(nn.initializers.orthogonal(sqrt(2.0))), nn.initializers.zeros


def _one_by_one(initializer: Initializer) -> Initializer:
    """`initializer` without batches of matrices: under vmap it draws one after the other.

    On a CPU of few cores two batched factorizations can block each other for good: each waits, in
    a thread of XLA's pool, for parts that need another one (seen with jaxlib 0.10.2, two cores).
    """

    def draw(key: Array, shape: tuple[int, ...], dtype: Any = float) -> Array:
        one = jax.custom_batching.sequential_vmap(lambda key: initializer(key, shape, dtype))
        return one(key)

    return draw


def _within(bound: float) -> Initializer:
    """Uniform between -bound and bound."""

    def draw(key: Array, shape: tuple[int, ...], dtype: Any = float) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
