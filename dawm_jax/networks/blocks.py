"""Building blocks of the networks."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from dawm_jax.networks.initialization import Initialization, LecunNormal
from dawm_jax.types import Array


def mish(x: Array) -> Array:
    """x tanh(softplus(x)) (Misra 2019), with one exponential on every backend.

    tanh(log(1 + e)) = n / (n + 2), where n = e (e + 2) and e = exp(x); for x above 20 it is 1.
    `jax.nn.mish` composes three functions and is slower on CPUs.
    """
    e = jnp.exp(jnp.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


class MLP(nn.Module):
    """Dense layers of the given widths, with an activation and then dropout between them.

    With `layer_norm`, each hidden layer is normalized (Ba et al. 2016) after its activation, as in
    ReBRAC's code (Tarasov et al. 2023).
    Computed in `dtype` (default: the inputs'); parameters are float32.
    """

    widths: Sequence[int]
    activation: Callable[[Array], Array] = nn.relu
    dropout: float = 0.0
    dtype: Any = None
    layer_norm: bool = False
    initialization: Initialization = LecunNormal()

    @nn.compact
    def __call__(self, x: Array, deterministic: bool = True) -> Array:
        *hidden, outputs = self.widths
        for width in hidden:
            x = self.activation(self._dense(x, width))
            if self.layer_norm:
                x = nn.LayerNorm(dtype=self.dtype)(x)
            x = nn.Dropout(self.dropout)(x, deterministic=deterministic)
        return self._dense(x, outputs, last=True)

    def _dense(self, x: Array, width: int, last: bool = False) -> Array:
        kernel, bias = self.initialization(x.shape[-1], last)
        return nn.Dense(width, dtype=self.dtype, kernel_init=kernel, bias_init=bias)(x)


def sinusoidal_embedding(position: Array, width: int) -> Array:
    """Sines and cosines of `position` (B,) at geometric frequencies (Vaswani et al. 2017).

    Returns:
        (B, width); `width` is even and at least 4.
    """
    half = width // 2
    frequency = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - 1))
    angle = position[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
