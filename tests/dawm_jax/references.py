"""Networks in float64 numpy, to compare with the code under test."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def float64(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def mlp(
    layers: Any, x: np.ndarray, activation: Callable[[np.ndarray], np.ndarray] = relu
) -> np.ndarray:
    """Three dense layers with an activation between them."""
    layers = float64(layers)
    for i in range(2):
        x = activation(x @ layers[f"Dense_{i}"]["kernel"] + layers[f"Dense_{i}"]["bias"])
    return x @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"]
