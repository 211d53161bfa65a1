"""Windows imagined per second, alone and as whole synthetic transitions."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from dawm_jax.data.windows import to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.window_diffusion import ModelState, WorldModel
from dawm_jax.sources.generate import Synthesis, synthesize_parts
from dawm_jax.training.devices import DATA, SEED, Split, device_mesh, place
from dawm_jax.types import Dataset, Transition
from experiments.benchmark import flops, sizes
from experiments.benchmark.cases import OURS, TORCH, Case, Group, Groups, blocking
from experiments.benchmark.peers.process import peer, world_model_job
from experiments.benchmark.random_data import (
    ACTION,
    OBSERVATION,
    random_contexts,
    random_dataset,
)
from experiments.benchmark.roof import roofs
from experiments.benchmark.scope import Options
from experiments.benchmark.suites.models import fitted

STEPS, GUIDANCE = 3, 1.2  # DWM's
PLAIN = 1.0  # a guidance scale that needs no unconditional prediction


def groups(options: Options) -> Groups:
    """For each size: batch sizes beside the peer, ways to sample, and whole transitions."""
    for size in options.sizes:
        for batch in options.scope.sampled:
            settings = {
                "size": size,
                "batch_size": batch,
                "sampling_steps": STEPS,
                "guidance_scale": GUIDANCE,
            }
            yield Group("sampling", "sample", settings, partial(_batch, size, batch, options))
        middle = options.scope.sampled[len(options.scope.sampled) // 2]
        settings = {"size": size, "batch_size": middle}
        yield Group("sampling", "ways to sample", settings, partial(_ways, size, middle, options))
        largest = options.scope.sampled[-1]
        settings = {"size": size, "chunk": largest}
        prepare = partial(_synthesis, size, largest, options)
        yield Group("sampling", "synthesize", settings, prepare)


def _batch(size: str, batch: int, options: Options, stack: ExitStack) -> list[Case]:
    model = sizes.world_model(size)
    _, state = fitted(size, options.scope.transitions)
    ours = sample_case(model, state, batch, Sampling(sampling_steps=STEPS, guidance_scale=GUIDANCE))
    cases, dtypes = [ours], ["float32"]
    if options.peers:
        job = {"kind": "sample", "batch_size": batch, "sampling_steps": STEPS}
        job |= {"guidance_scale": GUIDANCE, "temperature": 0.5, **world_model_job(model)}
        cases.append(peer(stack, options.peers.folder, TORCH, job, ours.work, flops=ours.flops))
    for precision in sizes.precisions(model):
        cases.append(sample_case(replace(model, **precision), state, batch, Sampling(), precision))
        dtypes += precision.values()
    return cases + roofs(options.scope, *dtypes)


def _ways(size: str, batch: int, options: Options, stack: ExitStack) -> list[Case]:
    model = sizes.world_model(size)
    _, state = fitted(size, options.scope.transitions)
    cases = []
    for guidance in (GUIDANCE, PLAIN):
        for steps in options.scope.sampling_steps:
            sampling = Sampling(sampling_steps=steps, guidance_scale=guidance)
            settings = {"sampling_steps": steps, "guidance_scale": guidance}
            cases.append(sample_case(model, state, batch, sampling, settings))
    return cases + roofs(options.scope, "float32")


def sample_case(
    model: WorldModel,
    state: ModelState,
    batch: int,
    sampling: Sampling,
    settings: dict[str, Any] | None = None,
) -> Case:
    """Ours: `batch` windows from as many contexts that are on the devices."""
    mesh = device_mesh()
    state = place(state, mesh)
    context, keys = place(random_contexts(batch), mesh, Split((SEED, DATA)))
    sample = jax.jit(model.sample, static_argnums=3)
    passes = sampling.sampling_steps * (1 if sampling.guidance_scale == PLAIN else 2)
    one = flops.forward(sizes.unet_layers(model, OBSERVATION, ACTION))
    settings = settings or {}
    return Case(
        by=OURS,
        work={"windows": batch, "transitions": batch * (model.horizon - 1)},
        call=blocking(lambda: sample(state, context, keys, sampling)),
        settings=settings,
        flops=batch * passes * one,
        dtype=settings.get(sizes.PRECISION, "float32"),
    )


def _synthesis(size: str, batch: int, options: Options, stack: ExitStack) -> list[Case]:
    model, inverse = sizes.world_model(size), sizes.components(size).inverse_dynamics
    _, state = fitted(size, options.scope.transitions)
    windows = -(-options.scope.synthesized // (model.horizon - 1))
    whole = -(-windows // min(batch, windows)) * min(batch, windows)  # chunks, no rest
    amount = whole * (model.horizon - 1)
    case = synthesis_case(model, state, inverse, amount, batch, options.scope.transitions)
    return [case, *roofs(options.scope, "float32")]


def synthesis_case(
    model: WorldModel,
    state: ModelState,
    inverse: InverseDynamics,
    amount: int,
    batch: int,
    transitions: int,
    settings: dict[str, Any] | None = None,
    keep: Callable[[Iterator[tuple[int, Transition]], Dataset], None] | None = None,
) -> Case:
    """Ours: `amount` transitions, actions inferred, on the host.

    There `keep` is given the parts, with the numbers that they end at; else each is dropped.
    """
    dataset = random_dataset(transitions)
    inferred = inverse.init(jax.random.key(3), to_transitions(dataset))
    made, mesh = Synthesis(transitions=amount, chunk=batch), device_mesh()
    key = jax.random.key(4)

    def synthesize() -> None:
        parts = synthesize_parts(model, state, inverse, inferred, dataset, made, key, mesh=mesh)
        if keep:
            keep(parts, dataset)
        else:
            deque(parts, maxlen=0)

    windows = made.windows(model.horizon)
    passes = 2 * made.sampling_steps
    one = flops.forward(sizes.unet_layers(model, OBSERVATION, ACTION))
    pairs = flops.forward(sizes.inverse_dynamics_layers(inverse.hidden, OBSERVATION, ACTION))
    return Case(
        by=OURS,
        work={"transitions": amount, "windows": windows},
        call=blocking(synthesize),
        settings=settings or {},
        flops=windows * passes * one + amount * pairs,
    )
