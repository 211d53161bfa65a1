"""Windows sampled per second, and whole synthetic transitions per second."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.models.window_diffusion import ModelState, WorldModel
from dawm_jax.sources import DAWM
from dawm_jax.sources.generate import Synthesis, synthesize_parts
from dawm_jax.training.devices import DATA, SEED, Split, device_mesh, place
from dawm_jax.types import Dataset, Transition
from experiments.benchmark import flops, sizes
from experiments.benchmark.cases import DAWM_JAX, TORCH, Case, Group, Groups, timed
from experiments.benchmark.peers.process import peer_case, world_model_job
from experiments.benchmark.random_data import (
    ACTION,
    OBSERVATION,
    random_contexts,
    random_dataset,
)
from experiments.benchmark.roofline import rooflines
from experiments.benchmark.scope import Options
from experiments.benchmark.sizes import LOW_PRECISION
from experiments.benchmark.suites.models import untrained_world_model

STEPS, GUIDANCE = 3, 1.2  # of DWM (Ding et al. 2024)
NO_GUIDANCE = 1.0  # the scale that needs no unconditional prediction
TEMPERATURE = 0.5

WriteParts = Callable[[Iterator[tuple[int, Transition]], Dataset], None]


def groups(options: Options) -> Groups:
    """For each size: batch sizes with the peer, settings of the sampler, whole transitions."""
    batches = options.scope.sampling_batches
    middle, largest = sorted(batches)[len(batches) // 2], max(batches)
    for size in options.sizes:
        for batch in batches:
            settings = {
                "size": size,
                "batch_size": batch,
                "sampling_steps": STEPS,
                "guidance_scale": GUIDANCE,
            }
            prepare = partial(_batch_cases, size, batch, options)
            yield Group("sampling", "sample", settings, prepare)
        settings = {"size": size, "batch_size": middle}
        prepare = partial(_sampler_cases, size, middle, options)
        yield Group("sampling", "ways to sample", settings, prepare)
        settings = {"size": size, "chunk": largest}
        prepare = partial(_synthesis_cases, size, largest, options)
        yield Group("sampling", "synthesize", settings, prepare)


def _batch_cases(size: str, batch: int, options: Options, stack: ExitStack) -> list[Case]:
    model = sizes.world_model(size)
    _, state = untrained_world_model(size, options.scope.transitions)
    sampling = Sampling(sampling_steps=STEPS, guidance_scale=GUIDANCE, temperature=TEMPERATURE)
    first = sample_case(model, state, batch, sampling)
    cases = [first]
    if options.peers:
        job = {
            "kind": "sample",
            "batch_size": batch,
            "sampling_steps": STEPS,
            "guidance_scale": GUIDANCE,
            "temperature": TEMPERATURE,
            **world_model_job(model),
        }
        folder = options.peers.folder
        cases.append(peer_case(stack, folder, TORCH, job, first.work, flops=first.flops))
    low = replace(model, compute_dtype=LOW_PRECISION)
    settings = {"compute_dtype": LOW_PRECISION}
    cases.append(sample_case(low, state, batch, sampling, settings))
    return cases + rooflines(options.scope, model.compute_dtype, LOW_PRECISION)


def _sampler_cases(size: str, batch: int, options: Options, stack: ExitStack) -> list[Case]:
    model = sizes.world_model(size)
    _, state = untrained_world_model(size, options.scope.transitions)
    cases = []
    for guidance in (GUIDANCE, NO_GUIDANCE):
        for steps in options.scope.sampling_steps:
            sampling = Sampling(sampling_steps=steps, guidance_scale=guidance)
            settings = {"sampling_steps": steps, "guidance_scale": guidance}
            cases.append(sample_case(model, state, batch, sampling, settings))
    return cases + rooflines(options.scope, model.compute_dtype)


def sample_case(
    model: WorldModel,
    state: ModelState,
    batch: int,
    sampling: Sampling,
    settings: dict[str, Any] | None = None,
) -> Case:
    """Samples `batch` windows from as many contexts, which are on the devices."""
    mesh = device_mesh()
    state = place(state, mesh)
    context, keys = place(random_contexts(batch), mesh, Split((SEED, DATA)))
    sample = jax.jit(model.sample, static_argnums=3)
    passes = passes_of(sampling)
    flops_per_pass = flops.forward(sizes.unet_layers(model, OBSERVATION, ACTION))
    return Case(
        by=DAWM_JAX,
        work={"windows": batch, "transitions": batch * (model.horizon - 1)},
        call=timed(lambda: sample(state, context, keys, sampling)),
        settings=settings or {},
        flops=batch * passes * flops_per_pass,
        dtype=model.compute_dtype,
    )


def _synthesis_cases(size: str, chunk: int, options: Options, stack: ExitStack) -> list[Case]:
    source = sizes.source(size)
    _, state = untrained_world_model(size, options.scope.transitions)
    windows = source.units(options.scope.synthetic_transitions)
    chunk = min(chunk, windows)
    whole_chunks = -(-windows // chunk) * chunk
    amount = whole_chunks * source.steps
    case = synthesis_case(source, state, amount, chunk, options.scope.transitions)
    return [case, *rooflines(options.scope, source.world_model.compute_dtype)]


def passes_of(sampling: Sampling) -> int:
    """Forward passes for one window: guidance needs two for each estimate."""
    return sampling.sampling_steps * (1 if sampling.guidance_scale == NO_GUIDANCE else 2)


def synthesis_case(
    source: DAWM,
    state: ModelState,
    amount: int,
    chunk: int,
    transitions: int,
    settings: dict[str, Any] | None = None,
    write: WriteParts | None = None,
) -> Case:
    """Generates `amount` transitions with inferred actions, and fetches them to the host.

    Args:
        chunk: windows per call.
        transitions: the size of the recorded data.
        write: receives the parts, each with the number of units so far (default: they are dropped).
    """
    dataset = random_dataset(transitions)
    inverse = source.inverse_dynamics
    states = {
        name: model.init(jax.random.key(3), source.data(name, dataset))
        for name, model in source.models().items()
        if name != "world_model"
    }
    states["world_model"] = state
    synthesis, mesh = Synthesis(transitions=amount, chunk=chunk), device_mesh()
    key = jax.random.key(4)

    def synthesize() -> None:
        parts = synthesize_parts(source, states, dataset, synthesis, key, mesh=mesh)
        if write:
            write(parts, dataset)
        else:
            deque(parts, maxlen=0)

    windows = source.units(amount)
    passes = passes_of(source.sampling)
    flops_per_pass = flops.forward(sizes.unet_layers(source.world_model, OBSERVATION, ACTION))
    layers = sizes.inverse_dynamics_layers(inverse.hidden, OBSERVATION, ACTION)
    return Case(
        by=DAWM_JAX,
        work={"transitions": amount, "windows": windows},
        call=timed(synthesize),
        settings=settings or {},
        flops=windows * passes * flops_per_pass + amount * flops.forward(layers),
    )
