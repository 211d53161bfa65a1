"""Computations that must agree on all devices: networks, samplers and updates, inputs fixed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.learners import LEARNERS, DataStatistics
from dawm_jax.models.window_diffusion import ModelState
from dawm_jax.networks.temporal_unet import TemporalUNet
from dawm_jax.training.loop import Component
from dawm_jax.types import Context
from experiments.benchmark import sizes
from experiments.benchmark.random_data import random_contexts, random_dataset

TRANSITIONS = 2_000  # of the random data
BATCH = 64  # windows of the network and of the world model, as in the papers
SAMPLED = 16  # windows


@dataclass(frozen=True)
class Check:
    """A function of fixed inputs, and how much its outputs may differ between devices.

    `function(*inputs)` returns pytrees by name. `bound` is the largest relative error of float32
    products without rounded factors, in the norm of each pytree.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    inputs: tuple[Any, ...]
    bound: float


def checks(size: str, hidden: tuple[int, ...]) -> Iterator[Check]:
    """The checks of a model size and of learners with these hidden layers.

    On a CPU, at the paper's size, one rounding error in each input changes the outputs by about
    2e-6 (forward pass), 3e-5 (sampler) and at most 3e-6 (updates). The bounds allow some 15 to 40
    times as much, and less than factors rounded to TF32 (5e-4 each) would cause.
    """
    model = sizes.world_model(size, batch_size=BATCH)
    dataset = random_dataset(TRANSITIONS)
    windows = WindowSet.of(dataset, model.horizon)
    state = model.init(jax.random.key(0), windows)
    network = TemporalUNet(state.codec.width, model.width, model.multipliers)
    x = jax.random.normal(
        jax.random.key(1), (BATCH, model.horizon, state.codec.input_width), jnp.float32
    )
    context, _ = random_contexts(BATCH)
    step = jnp.arange(BATCH) % model.diffusion_steps + 1.0
    seen = jnp.arange(BATCH) % 4 > 0
    action = state.codec.embedded_action(context)

    def forward(*inputs: jax.Array) -> dict[str, Any]:
        return {"prediction": network.apply(*inputs)}

    inputs = (state.params, x, step, context.return_to_go, seen, action)
    yield Check(f"forward pass, {size} U-Net", forward, inputs, 5e-5)

    sampling = Sampling(sampling_steps=3, guidance_scale=1.2, temperature=0.5)

    def sample(state: ModelState, context: Context, keys: jax.Array) -> dict[str, Any]:
        rollout = model.sample(state, context, keys, sampling)
        return {"observations": rollout.observation, "rewards": rollout.reward}

    yield Check(f"sampler, {size} U-Net", sample, (state, *random_contexts(SAMPLED)), 5e-4)
    yield check_of_update(f"update, {size} world model", model, windows, state, 1e-4)
    transitions = TransitionSet(to_transitions(dataset))
    for name, create in LEARNERS.items():
        learner = create(hidden=hidden)
        initial = jax.jit(learner.init)(jax.random.key(2), DataStatistics.of(dataset))
        yield check_of_update(f"update, {name}", learner, transitions, initial, 1e-4)


def check_of_update(name: str, component: Component, data: Any, state: Any, bound: float) -> Check:
    """A check of one update of a component's state, on a batch of its data."""
    batch = data.sample(jax.random.key(3), component.batch_shape)

    def update(state: Any, batch: Any, key: jax.Array) -> dict[str, Any]:
        updated, metrics = component.update(state, batch, key)
        return {"metrics": metrics, **_moments_and_parameters(updated)}

    return Check(name, update, (state, batch, jax.random.key(4)), bound)


def _moments_and_parameters(state: Any) -> dict[str, list[jax.Array]]:
    """Adam's first moments, which are linear in the gradient, and the other numbers of a state.

    Adam's first change of a parameter is the learning rate times the sign of its gradient, which
    rounding decides where the gradient is almost zero: changes are compared as part of parameters.
    """
    moments, parameters = [], []
    for path, leaf in jax.tree.leaves_with_path(state):
        names = {getattr(key, "name", None) for key in path}
        if "mu" in names:
            moments.append(leaf)
        elif "nu" not in names and jnp.issubdtype(leaf.dtype, jnp.floating):
            parameters.append(leaf)
    return {"gradient moments": moments, "parameters": parameters}
