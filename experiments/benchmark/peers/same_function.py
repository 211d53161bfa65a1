"""Whether the PyTorch world model computes what ours does: the same parameters and inputs to both.

The functions are compared on a narrow and a wide random network, with and without the current state
among the inputs, whose biases are not the zeros that training starts from.
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
from experiments.benchmark.peers.process import started, world_model_job
from experiments.benchmark.random_data import random_dataset

BATCH = 16
KINDS = {
    "increments, x0": {"width": 16, "observation_target": "increment", "parameterization": "x0"},
    "states, epsilon": {
        "width": 128,  # whose convolutions are made in other ways
        "observation_target": "absolute",
        "parameterization": "epsilon",
    },
}
TOLERANCE = 3e-4  # of the largest number; sampling divides by small signal rates


@dataclass(frozen=True)
class Question:
    """A worker's job, and what ours computes of the same numbers."""

    job: dict[str, Any]
    network: np.ndarray  # (B, T, C)
    rollout: Rollout
    codec: WindowCodec
    context: Context

    def differences(self) -> dict[str, float]:
        """The largest difference to what the worker wrote, as a share of the largest number."""
        with np.load(f"{self.job['file']}.theirs.npz") as stored:
            network, sample = stored["network"], stored["sample"]
        theirs = self.codec.decode(jnp.asarray(sample), self.context)
        pairs = {
            "network": (self.network, network),
            "sampled states": (self.rollout.observation, theirs.observation),
            "sampled rewards": (self.rollout.reward, theirs.reward),
        }
        return {name: _difference(*map(np.asarray, pair)) for name, pair in pairs.items()}


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def ask(kind: str, folder: Path) -> Question:
    """Writes parameters and inputs to a file in `folder`, and computes our outputs."""
    model = WorldModel(multipliers=(1, 2, 4), **KINDS[kind])
    windows = WindowSet.of(random_dataset(200), model.horizon)
    state = _shaken(model.init(jax.random.key(0), windows))
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
    # At temperature 0 a sample is a function of its context alone.
    sampling = Sampling(sampling_steps=3, guidance_scale=1.2, temperature=0.0)
    rollout = jax.jit(model.sample, static_argnums=3)(
        state, context, jax.random.split(jax.random.key(3), BATCH), sampling
    )
    everywhere = jnp.full_like(x, 1e9)
    inputs = {
        "x": x,
        "step": step,
        "keep": keep.astype(jnp.float32),
        "known": pinned[:, 0, codec.channels["observation"]],
        "state": codec.state.normalize(context.observation),
        "return_to_go": context.return_to_go,
        "action": context.action,
        "low": codec.clip(-everywhere)[0],
        "high": codec.clip(everywhere)[0],
    }
    file = folder / f"{model.observation_target}.npz"
    arrays = {**inputs, **_named(state.params["params"])}
    np.savez(file, **{name: np.asarray(value) for name, value in arrays.items()})
    job = {"kind": "check", "file": str(file), **world_model_job(model)}
    return Question(job, np.asarray(network), rollout, codec, context)


def _named(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """The parameters by their paths; a convolution's kernel with its taps first."""
    return {"/".join(path): np.asarray(value) for path, value in flatten_dict(params).items()}


def _shaken(state: ModelState) -> ModelState:
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    shaken = [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, shaken)
    return state.replace(params=params, ema_params=params)


def check(environment: Path) -> dict[str, dict[str, float]]:
    """The differences of each kind, by a worker in the peers' environment.

    Raises:
        UserError: they are larger than those of float32.
    """
    found = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for kind in KINDS:
            with jax.default_matmul_precision("highest"):  # a GPU's default is less than float32
                question = ask(kind, Path(folder))
            with started(environment, {**question.job, "device": "cpu"}) as worker:
                worker.go(1)
            found[kind] = question.differences()
    worst = max(value for kind in found.values() for value in kind.values())
    require(
        worst < TOLERANCE,
        f"the PyTorch world model is not the same function as ours: {found}. Bring "
        "experiments/benchmark/peers/torch_unet.py in line with dawm_jax/networks/temporal_unet.py",
    )
    return found
