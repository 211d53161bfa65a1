"""Networks in float64 numpy, to compare with the code under test."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def float64(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def part_of(tree: Any, index: int) -> Any:
    """One of the trees that are stacked along the leading axis."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def mlp(
    layers: Any, x: np.ndarray, activation: Callable[[np.ndarray], np.ndarray] = relu
) -> np.ndarray:
    """Dense layers; between them an activation, and layer norm where it has parameters."""
    layers = float64(layers)
    hidden = sum(name.startswith("Dense") for name in layers) - 1
    for i in range(hidden):
        x = activation(x @ layers[f"Dense_{i}"]["kernel"] + layers[f"Dense_{i}"]["bias"])
        if norm := layers.get(f"LayerNorm_{i}"):
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
            x = x * norm["scale"] + norm["bias"]
    return x @ layers[f"Dense_{hidden}"]["kernel"] + layers[f"Dense_{hidden}"]["bias"]
