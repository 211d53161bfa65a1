"""Gradient steps of the world model and of the inverse dynamics model per second."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.models.window_diffusion import ModelState
from dawm_jax.training.devices import place
from dawm_jax.training.loop import Component, jitted, train_chunk
from experiments.benchmark import flops, sizes
from experiments.benchmark.cases import ONE_BY_ONE, OURS, TORCH, Case, Group, Groups, carrying
from experiments.benchmark.peers.process import peer, world_model_job
from experiments.benchmark.random_data import ACTION, OBSERVATION, random_dataset
from experiments.benchmark.roof import devices, roofs
from experiments.benchmark.scope import Options
from experiments.system.machine import training_mesh

FEWEST_STEPS, MOST_STEPS = 6, 200  # in a call: the first of them copies the state


def world_model_groups(options: Options) -> Groups:
    """One for each size and batch size: ours in each precision, and peers."""
    return _groups("world_model", _world_model_cases, options)


def inverse_dynamics_groups(options: Options) -> Groups:
    """One for each size and batch size."""
    return _groups("inverse_dynamics", _inverse_dynamics_cases, options)


def _groups(suite: str, cases: Callable[..., list[Case]], options: Options) -> Groups:
    for size in options.sizes:
        for batch in options.scope.trained:
            settings = {"size": size, "batch_size": batch}
            yield Group(suite, "gradient step", settings, partial(cases, size, batch, options))


@cache
def fitted(size: str, transitions: int) -> tuple[WindowSet, ModelState]:
    """The windows of random data and a new state of the world model of that size."""
    model = sizes.world_model(size)
    windows = WindowSet.of(random_dataset(transitions), model.horizon)
    return windows, model.init(jax.random.key(0), windows)


def _world_model_cases(size: str, batch: int, options: Options, stack: ExitStack) -> list[Case]:
    scope = options.scope
    model = sizes.world_model(size, batch_size=batch)
    windows, state = place(fitted(size, scope.transitions), training_mesh(None))
    one = batch * flops.training(sizes.unet_layers(model, OBSERVATION, ACTION))
    steps = _steps(one, scope.flops_a_call)
    parameters = optax.tree.size(state.params)
    moved = devices() * flops.adam_bytes(parameters, averaged=1.0 / model.ema_every)
    costs = {"unit": "windows", "size": batch, "flops": one, "moved": moved}
    cases = [
        _scan(model, windows, state, steps, costs, {}),
        _one_by_one(model, windows, state, steps, costs),
    ]
    if options.peers:
        job = {"kind": "train", "steps": steps, "batch_size": batch, **world_model_job(model)}
        work = {"gradient steps": steps, "windows": steps * batch}
        cases.append(
            peer(
                stack,
                options.peers.folder,
                TORCH,
                job,
                work,
                flops=steps * one,
                moved=steps * moved,
            )
        )
    dtypes = ["float32"]
    for precision in sizes.precisions(model):
        changed = replace(model, **precision)
        cases.append(_scan(changed, windows, state, steps, costs, precision))
        dtypes += precision.values()
    return cases + roofs(scope, *dtypes, copy=True)


def _inverse_dynamics_cases(
    size: str, batch: int, options: Options, stack: ExitStack
) -> list[Case]:
    scope = options.scope
    model = replace(sizes.components(size).inverse_dynamics, batch_size=batch)
    transitions = to_transitions(random_dataset(scope.transitions))
    state = model.init(jax.random.key(0), transitions)
    layers = sizes.inverse_dynamics_layers(model.hidden, OBSERVATION, ACTION)
    one = batch * flops.training(layers)
    steps = _steps(one, scope.flops_a_call)
    parameters = optax.tree.size(state.params)
    moved = devices() * flops.adam_bytes(parameters)
    costs = {"unit": "transitions", "size": batch, "flops": one, "moved": moved}
    data, state = place((TransitionSet(transitions), state), training_mesh(None))
    ours = _scan(model, data, state, steps, costs, {})
    return [
        ours,
        _one_by_one(model, data, state, steps, costs),
        *roofs(scope, "float32", copy=True),
    ]


def _steps(one: float, budget: float) -> int:
    """How many steps of so many FLOPs make a call of about `budget`."""
    return min(max(FEWEST_STEPS, round(budget / one)), MOST_STEPS)


def _scan(
    model: Any, data: Any, state: Any, steps: int, costs: dict[str, Any], precision: dict[str, str]
) -> Case:
    """Ours, as `dawm_jax.train` makes it: one compiled scan."""
    chunk = jitted(train_chunk(model, steps, training_mesh(None)))
    key = jax.random.key(1)

    def step(state: Any) -> Any:
        return chunk(state, data, key, jnp.int32(0))[0]

    dtype = next(iter(precision.values()), "float32")
    return _case(OURS, step, state, steps, costs, settings=precision, dtype=dtype)


def _one_by_one(model: Any, data: Any, state: Any, steps: int, costs: dict[str, Any]) -> Case:
    step = one_at_a_time(model, data, jax.random.key(1), steps)
    return _case(ONE_BY_ONE, step, state, steps, costs)


def one_at_a_time(
    component: Component, data: Any, key: jax.Array, updates: int
) -> Callable[[Any], Any]:
    """The peer of a scan: `updates` updates of a state, a jitted call for each step of them."""
    unit = component.updates_per_step
    once = jax.jit(train_chunk(component, unit, training_mesh(None)))

    def step(state: Any) -> Any:
        for done in range(0, updates, unit):
            state, _ = once(state, data, key, jnp.int32(done))
        return state

    return step


def _case(
    by: str,
    step: Callable[[Any], Any],
    state: Any,
    steps: int,
    costs: dict[str, Any],
    **more: Any,
) -> Case:
    return Case(
        by=by,
        work={"gradient steps": steps, costs["unit"]: steps * costs["size"]},
        call=carrying(step, state),
        flops=steps * costs["flops"],
        moved=steps * costs["moved"],
        **more,
    )
