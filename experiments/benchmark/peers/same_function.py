"""Checks that the PyTorch world model computes the same function as the one in JAX.

Both get the same parameters and inputs. A narrow and a wide random network are compared, with and
without the current state among the inputs; their biases are not the zeros of a new network.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from dawm_jax.data.windows import WindowSet
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import require
from dawm_jax.models.window_codec import WindowCodec
from dawm_jax.models.window_diffusion import ModelState, WorldModel
from dawm_jax.networks.temporal_unet import TemporalUNet
from dawm_jax.types import Context, Rollout
from experiments.benchmark.peers.process import running_worker, world_model_job
from experiments.benchmark.random_data import random_dataset

BATCH = 16
KINDS: dict[str, dict[str, Any]] = {
    "increments, x0": {"width": 16, "observation_target": "increment", "parameterization": "x0"},
    "states, epsilon": {
        "width": 128,  # wide enough for the other convolution algorithms
        "observation_target": "absolute",
        "parameterization": "epsilon",
    },
}
TOLERANCE = 3e-4  # relative to the largest value; sampling divides by small signal rates


@dataclass(frozen=True)
class Comparison:
    """A worker's job, and the outputs of JAX for the same parameters and inputs."""

    job: dict[str, Any]
    network: np.ndarray  # (B, T, C)
    rollout: Rollout
    codec: WindowCodec
    context: Context

    def differences(self) -> dict[str, float]:
        """The largest difference to the worker's outputs, relative to the largest value."""
        with np.load(f"{self.job['file']}.torch.npz") as stored:
            network, sample = stored["network"], stored["sample"]
        rollout = self.codec.decode(jnp.asarray(sample), self.context)
        pairs = {
            "network": (self.network, network),
            "sampled states": (self.rollout.observation, rollout.observation),
            "sampled rewards": (self.rollout.reward, rollout.reward),
        }
        return {name: _difference(*map(np.asarray, pair)) for name, pair in pairs.items()}


def _difference(expected: np.ndarray, actual: np.ndarray) -> float:
    return float(np.abs(expected - actual).max() / np.abs(expected).max())


def prepare_comparison(kind: str, folder: Path) -> Comparison:
    """Writes parameters and inputs to a file in `folder`, and computes the outputs in JAX."""
    model = WorldModel(multipliers=(1, 2, 4), **KINDS[kind])
    windows = WindowSet.of(random_dataset(200), model.horizon)
    state = _perturbed(model.init(jax.random.key(0), windows))
    codec, context = state.codec, windows.at(jnp.arange(BATCH)).context
    keys = jax.random.split(jax.random.key(2), 3)
    x = jax.random.normal(keys[0], (BATCH, model.horizon, codec.width))
    step = jax.random.randint(keys[1], (BATCH,), 1, model.diffusion_steps + 1)
    keep = jax.random.bernoulli(keys[2], 0.5, (BATCH,))
    pinned = codec.pin(x, context)
    network = jax.jit(TemporalUNet(codec.width, model.width, model.multipliers).apply)(
        state.params,
        codec.network_input(pinned, context),
        step,
        context.return_to_go,
        keep,
        context.action,
    )
    # At temperature 0, a sample is a function of its context.
    sampling = Sampling(sampling_steps=3, guidance_scale=1.2, temperature=0.0)
    rollout = jax.jit(model.sample, static_argnums=3)(
        state, context, jax.random.split(jax.random.key(3), BATCH), sampling
    )
    large = jnp.full_like(x, 1e9)
    arrays = {
        "x": x,
        "step": step,
        "keep": keep.astype(jnp.float32),
        "known": pinned[:, 0, codec.channels["observation"]],
        "state": codec.state.normalize(context.observation),
        "return_to_go": context.return_to_go,
        "action": context.action,
        "low": codec.clip(-large)[0],
        "high": codec.clip(large)[0],
        **{"/".join(path): leaf for path, leaf in flatten_dict(state.params["params"]).items()},
    }
    file = folder / f"{model.observation_target}.npz"
    np.savez(
        file, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()}
    )
    job = {"kind": "check", "file": str(file), **world_model_job(model)}
    return Comparison(job, np.asarray(network), rollout, codec, context)


def _perturbed(state: ModelState) -> ModelState:
    """The state with noise added to all parameters."""
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, noisy)
    return state.replace(params=params, ema_params=params)


def check_same_function(environment: Path) -> dict[str, dict[str, float]]:
    """Runs PyTorch in the peers' environment and returns the differences for each kind.

    Raises:
        UserError: a difference exceeds float32 rounding.
    """
    found = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for kind in KINDS:
            with jax.default_matmul_precision("highest"):  # GPUs default to less than float32
                comparison = prepare_comparison(kind, Path(folder))
            with running_worker(environment, {**comparison.job, "device": "cpu"}) as worker:
                worker.work(1)
            found[kind] = comparison.differences()
    largest = max(value for differences in found.values() for value in differences.values())
    require(
        largest < TOLERANCE,
        "the PyTorch world model does not compute the same function as the one in JAX: relative "
        f"differences are {found}, at most {TOLERANCE} is expected. Adapt "
        "experiments/benchmark/peers/torch_unet.py to dawm_jax/networks/temporal_unet.py",
    )
    return found
