"""Gradient steps of the world model and of the inverse dynamics model per second."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.models.window_diffusion import ModelState
from dawm_jax.training.devices import place
from dawm_jax.training.loop import compiled_loop, train_chunk
from dawm_jax.training.protocol import Component
from experiments.benchmark import flops, sizes
from experiments.benchmark.cases import (
    DAWM_JAX,
    JIT_PER_UPDATE,
    TORCH,
    Call,
    Case,
    Group,
    Groups,
    timed_steps,
)
from experiments.benchmark.peers.process import running_worker, world_model_job
from experiments.benchmark.random_data import ACTION, OBSERVATION, random_dataset
from experiments.benchmark.roofline import device_count, rooflines
from experiments.benchmark.scope import Options
from experiments.benchmark.sizes import LOW_PRECISION
from experiments.system.machine import training_mesh

MIN_STEPS, MAX_STEPS = 6, 200  # per call; training, too, makes many steps in one loop


@dataclass(frozen=True)
class Work:
    """The gradient steps of one call, with the FLOPs and bytes of each."""

    steps: int
    batch: int
    unit: str  # of the rows of a batch
    flops: float
    traffic: float

    def case(self, by: str, call: Call, **details: Any) -> Case:
        """A case that does this work. `details` are further fields of `Case`."""
        return Case(
            by=by,
            work={"gradient steps": self.steps, self.unit: self.steps * self.batch},
            call=call,
            flops=self.steps * self.flops,
            traffic=self.steps * self.traffic,
            **details,
        )


def world_model_groups(options: Options) -> Groups:
    """One group for each size and batch size, with each precision and the peers."""
    return _groups("world_model", _world_model_cases, options)


def inverse_dynamics_groups(options: Options) -> Groups:
    """One group for each size and batch size."""
    return _groups("inverse_dynamics", _inverse_dynamics_cases, options)


def _groups(suite: str, cases: Callable[..., list[Case]], options: Options) -> Groups:
    for size in options.sizes:
        for batch in options.scope.training_batches:
            settings = {"size": size, "batch_size": batch}
            yield Group(suite, "gradient step", settings, partial(cases, size, batch, options))


@cache
def untrained_world_model(size: str, transitions: int) -> tuple[WindowSet, ModelState]:
    """The windows of random data and an initial state of the world model of a size."""
    model = sizes.world_model(size)
    windows = WindowSet.of(random_dataset(transitions), model.horizon)
    return windows, model.init(jax.random.key(0), windows)


def _world_model_cases(size: str, batch: int, options: Options, stack: ExitStack) -> list[Case]:
    scope = options.scope
    model = sizes.world_model(size, batch_size=batch)
    untrained = untrained_world_model(size, scope.transitions)
    windows, state = place(untrained, training_mesh(None))
    flops_per_step = batch * flops.training(sizes.unet_layers(model, OBSERVATION, ACTION))
    traffic = flops.adam_traffic(optax.tree.size(state.params), averaged=1.0 / model.ema_every)
    work = _work(scope.flops_per_call, batch, "windows", flops_per_step, traffic)
    cases = [_scan_case(work, model, windows, state)]
    if options.alternatives:
        cases.append(_jit_per_update_case(work, model, windows, state))
    if options.peers:
        job = {"kind": "train", "steps": work.steps, "batch_size": batch, **world_model_job(model)}
        worker = stack.enter_context(running_worker(options.peers.folder, job))
        cases.append(work.case(TORCH, worker.work, process=worker.process.pid))
    low = replace(model, compute_dtype=LOW_PRECISION)
    settings = {"compute_dtype": LOW_PRECISION}
    cases.append(_scan_case(work, low, windows, state, settings=settings, dtype=LOW_PRECISION))
    return cases + rooflines(scope, model.compute_dtype, LOW_PRECISION, copy=True)


def _inverse_dynamics_cases(
    size: str, batch: int, options: Options, stack: ExitStack
) -> list[Case]:
    scope = options.scope
    model = replace(sizes.source(size).inverse_dynamics, batch_size=batch)
    transitions = TransitionSet(to_transitions(random_dataset(scope.transitions)))
    state = model.init(jax.random.key(0), transitions)
    layers = sizes.inverse_dynamics_layers(model.hidden, OBSERVATION, ACTION)
    traffic = flops.adam_traffic(optax.tree.size(state.params))
    flops_per_step = batch * flops.training(layers)
    work = _work(scope.flops_per_call, batch, "transitions", flops_per_step, traffic)
    data, state = place((transitions, state), training_mesh(None))
    cases = [_scan_case(work, model, data, state)]
    if options.alternatives:
        cases.append(_jit_per_update_case(work, model, data, state))
    return cases + rooflines(scope, "float32", copy=True)


def _work(
    flops_per_call: float, batch: int, unit: str, flops_per_step: float, traffic: float
) -> Work:
    """As many steps as make about `flops_per_call`; every device moves `traffic` bytes in each."""
    steps = min(max(MIN_STEPS, round(flops_per_call / flops_per_step)), MAX_STEPS)
    return Work(steps, batch, unit, flops_per_step, device_count() * traffic)


def _scan_case(work: Work, model: Component, data: Any, state: Any, **details: Any) -> Case:
    """One compiled scan, as in `dawm_jax.train`."""
    loop = compiled_loop(train_chunk(model, work.steps, training_mesh(None)))
    key = jax.random.key(1)

    def step(state: Any) -> Any:
        return loop(state, data, key, jnp.int32(0))[0]

    return work.case(DAWM_JAX, timed_steps(step, state), **details)


def _jit_per_update_case(work: Work, model: Component, data: Any, state: Any) -> Case:
    step = jit_per_update(model, data, jax.random.key(1), work.steps)
    return work.case(JIT_PER_UPDATE, timed_steps(step, state))


def jit_per_update(
    component: Component, data: Any, key: jax.Array, updates: int
) -> Callable[[Any], Any]:
    """The alternative to a scan: a function that makes `updates` updates, each a jitted call."""
    unit = component.updates_per_step
    once = jax.jit(train_chunk(component, unit, training_mesh(None)))

    def step(state: Any) -> Any:
        for done in range(0, updates, unit):
            state, _ = once(state, data, key, jnp.int32(done))
        return state

    return step
