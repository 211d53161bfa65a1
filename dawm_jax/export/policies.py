"""Trained policies as files: the observation normalizer and the action scaling are inside.

`to_safetensors` writes the arrays of the network, to be read with NumPy; `to_jax` a program that
JAX runs without this package. Both act on observations in the environment's units; docs/policies.md
has the layout and a loader.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from dawm_jax.errors import UserError, require
from dawm_jax.learners import Learner
from dawm_jax.settings import PolicyName
from dawm_jax.types import Array, Dataset

FORMAT = "dawm_jax policy 1"
PLATFORMS = ("cpu", "cuda", "tpu")
INSTALL = "pip install -e .[export]"
LAYER = re.compile(r"\['Dense_(\d+)'\]\['(kernel|bias)'\]$")
STATISTIC = re.compile(r"statistics\.(observation_\w+)$")
TOLERANCE = 1e-4  # of an action in [-1, 1]; float32 in another order differs by less


@dataclass(frozen=True)
class TrainedPolicy:
    """One seed's policy of a learner, and the data set whose units it knows."""

    learner: Learner
    state: Any  # of the learner
    dataset: Dataset
    policy: PolicyName = "averaged"  # see `Learner.act`

    @property
    def observation_dim(self) -> int:
        return len(self.dataset.observation_origin)

    def act(self, observation: Array) -> Array:
        """Actions (N, action_dim) in [-1, 1] for observations less the data set's origin."""
        return self.learner.act(self.state, observation, self.policy)


def to_safetensors(trained: TrainedPolicy, facts: Mapping[str, Any]) -> bytes:
    """The policy's arrays as safetensors, with `facts` beside its own in the header.

    Raises:
        UserError: safetensors is missing, or the policy is not tanh of an MLP with ReLU.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise UserError(f"safetensors is not installed: {INSTALL}") from None
    arrays = policy_arrays(trained)
    _check_same(trained, arrays)
    layers = count_layers(arrays)
    header = {
        "format": FORMAT,
        "layers": [
            trained.observation_dim,
            *(len(arrays[f"layers.{i}.bias"]) for i in range(layers)),
        ],
        "activation": "relu",
        "output": "tanh",
        "action_low": arrays["action_low"].tolist(),
        "action_high": arrays["action_high"].tolist(),
        "policy": trained.policy,
        **facts,
    }
    return save(arrays, {name: _text(value) for name, value in header.items()})


def to_jax(trained: TrainedPolicy) -> bytes:
    """The policy as a program of `jax.export` for any batch size, on CPU, CUDA and TPU.

    It maps observations (N, observation_dim) to actions (N, action_dim), both float32.

    Raises:
        UserError: flatbuffers is missing, or float32 does not hold the observations.
    """
    dataset = trained.dataset
    require(
        not dataset.observation_origin.any(),
        f"observations of '{dataset.id}' vary too little around a large value for float32, which "
        "JAX computes in: use the safetensors file",
    )
    low, high = (jnp.asarray(b, jnp.float32) for b in (dataset.action_low, dataset.action_high))

    def act(observation: Array) -> Array:
        with jax.default_matmul_precision("highest"):  # as the learner was evaluated on a CPU
            action = jnp.clip(trained.act(observation), -1.0, 1.0)
        return (action + 1.0) / 2.0 * (high - low) + low

    (rows,) = export.symbolic_shape("rows")
    shape = jax.ShapeDtypeStruct((rows, trained.observation_dim), jnp.float32)
    try:
        return bytes(export.export(jax.jit(act), platforms=PLATFORMS)(shape).serialize())
    except ImportError:
        raise UserError(f"flatbuffers is not installed: {INSTALL}") from None


def policy_arrays(trained: TrainedPolicy) -> dict[str, np.ndarray]:
    """The arrays of docs/policies.md.

    They are those arrays of the state that `act` uses, whatever the learner calls them.

    Raises:
        UserError: it uses others than the layers of one MLP and the normalizer.
    """
    used = _used(trained)
    layers = {_layer(path): leaf for path, leaf in used.items() if LAYER.search(path)}
    statistics = {m[1]: leaf for path, leaf in used.items() if (m := STATISTIC.search(path))}
    require(
        len(layers) + len(statistics) == len(used) and len(statistics) == 2,
        f"the policy of {type(trained.learner).__name__} is not a plain MLP on normalized "
        f"observations; it uses {', '.join(used)}: export it with jax.export alone",
    )
    dataset = trained.dataset
    mean = dataset.observation_origin + statistics["observation_mean"].astype(np.float64)
    return {
        **layers,
        "observation_mean": mean,
        "observation_std": statistics["observation_std"],
        "action_low": np.asarray(dataset.action_low, np.float32),
        "action_high": np.asarray(dataset.action_high, np.float32),
    }


def act(arrays: Mapping[str, np.ndarray], observation: np.ndarray) -> np.ndarray:
    """Actions (..., action_dim) of a policy's arrays, in NumPy and the environment's units."""
    last = count_layers(arrays) - 1
    normalized = (observation - arrays["observation_mean"]) / arrays["observation_std"]
    x = normalized.astype(np.float32)
    for i in range(last + 1):
        x = x @ arrays[f"layers.{i}.kernel"] + arrays[f"layers.{i}.bias"]
        x = np.maximum(x, 0.0) if i < last else np.tanh(x)
    low, high = arrays["action_low"], arrays["action_high"]
    return (x + 1.0) / 2.0 * (high - low) + low


def count_layers(arrays: Mapping[str, np.ndarray]) -> int:
    """The number of dense layers of a policy's arrays."""
    return sum(name.endswith(".kernel") for name in arrays)


def _used(trained: TrainedPolicy) -> dict[str, np.ndarray]:
    """The leaves of the state that actions depend on, by path; the compiler drops the others."""

    def act(state: Any, observation: Array) -> Array:
        return trained.learner.act(state, observation, trained.policy)

    observation = jnp.zeros((1, trained.observation_dim))
    kept = export.export(jax.jit(act))(trained.state, observation).module_kept_var_idx
    leaves, _ = jax.tree.flatten_with_path(trained.state)
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for index, (path, leaf) in enumerate(leaves)
        if index in kept
    }


def _layer(path: str) -> str:
    found = LAYER.search(path)
    assert found
    return f"layers.{found[1]}.{found[2]}"


def _check_same(trained: TrainedPolicy, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises UserError unless `arrays` act as the learner does, far beyond the data too."""
    rng = np.random.default_rng(0)
    normal = 3.0 * rng.standard_normal((256, trained.observation_dim))
    observation = normal * arrays["observation_std"] + arrays["observation_mean"]
    dataset = trained.dataset
    action = trained.act(jnp.asarray(dataset.shift_observation(observation)))
    found = dataset.scale_action(act(arrays, observation))
    require(
        bool(np.allclose(found, action, atol=TOLERANCE)),
        f"the policy of {type(trained.learner).__name__} is not tanh of an MLP with ReLU: export "
        "it with jax.export alone",
    )


def _text(value: Any) -> str:
    """A fact as text: strings as they are, others as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
