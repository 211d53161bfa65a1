"""Rollouts of a source against held-out episodes and against the simulator."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.errors import UserError
from dawm_jax.evaluation.fidelity import (
    explained_variance,
    spread_over_error,
    terminal_agreement,
)
from dawm_jax.sources import RolloutSource
from dawm_jax.sources.base import States
from dawm_jax.types import AnyArray, Array, Context, Window
from experiments.fidelity import judge
from experiments.fidelity.judge import Infer, Rollouts
from experiments.fidelity.returns import returns
from experiments.run.context import Run
from experiments.simulation.simulator import make_simulator


def held_out_windows(run: Run, source: RolloutSource) -> WindowSet | None:
    """The windows of the held-out episodes that a rollout covers, or None where there are none."""
    held_out = run.splits[1]
    if held_out is None:
        return None
    try:
        return WindowSet.of(held_out, source.steps + 1)
    except UserError:
        return None


def compare(
    run: Run,
    source: RolloutSource,
    states: States,
    windows: WindowSet,
    chunk: int,
    count: int | None = None,
) -> tuple[Window, Rollouts]:
    """Held-out windows, and rollouts from their first states, conditioned on their return-to-go.

    There are `count` of them (default: what the config sets), at most `chunk` in one call.
    """
    pick_key, rollout_key = jax.random.split(run.key("measure"))
    size = min(count or run.components.fidelity.windows, len(windows.starts))
    picked = jax.random.permutation(pick_key, len(windows.starts))[:size]
    keys = jax.random.split(rollout_key, size)
    length = windows_per_call(size, chunk)
    # The last call is filled up with the first windows, so that all have one length.
    numbers = jnp.resize(jnp.arange(size), (-(-size // length), length))
    discount = jnp.float32(run.dataset.discount)
    parts = [
        _roll_out(source, states, windows.at(picked[rows]).context, keys[rows], discount)
        for rows in numbers
    ]
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:size], *jax.device_get(parts))
    return jax.device_get(windows.at(picked)), joined


def windows_per_call(count: int, chunk: int) -> int:
    """The length of each call when `count` windows take the fewest calls of at most `chunk`."""
    return -(-count // -(-count // chunk))


@partial(jax.jit, static_argnames="source")
def _roll_out(
    source: RolloutSource, states: States, context: Context, keys: Array, discount: Array
) -> Rollouts:
    step, valid = source.rollout(states, context, keys, discount)
    last = step.next_observation[:, -1:]
    return Rollouts(
        observation=jnp.concatenate([step.observation, last], axis=1),
        action=step.action,
        reward=step.reward,
        terminal=step.discount == 0.0,
        valid=valid,
    )


def measure(
    run: Run,
    source: RolloutSource,
    states: States,
    one_step_state: Any,
    windows: WindowSet,
    window: Window,
    rollouts: Rollouts,
) -> dict[str, Any]:
    """Figures on held-out `windows`, beside those of two yardsticks (see docs/results.md).

    `window` and `rollouts` are those of `compare`. The yardsticks: `repeated`, the first state
    repeated; `one_step_model`, a Gaussian one-step model rolled out under the recorded actions.
    """
    infer = _inference(source, states)
    compared = _compared(run, window, rollouts, one_step_state, infer)
    count = run.components.fidelity.judged
    judged = {name: one.first(count) for name, one in compared.items()}
    simulator = make_simulator(run.dataset)
    return {
        "windows": len(window.reward),
        **judge.against_the_data(window, compared),
        "spread": spread(run, source, states, windows, infer, "spread")
        if run.components.fidelity.samples > 1
        else None,
        "simulator": simulator and judge.against_the_simulator(simulator, judged),
        "actions": infer and _actions(run, simulator, judged["synthetic"], infer),
        "terminals": {
            "windows": terminal_agreement(
                window.terminal[:, -1], np.any(rollouts.terminal & rollouts.valid, axis=1)
            ),
            "rule": simulator and judge.terminals_by_rule(simulator, judged["synthetic"]),
        },
        "returns": returns(run, source, states, windows),
    }


def spread(
    run: Run,
    source: RolloutSource,
    states: States,
    windows: WindowSet,
    infer: Infer | None,
    purpose: str,
) -> dict[str, Any]:
    """The spread of several rollouts from one state over their error, of states and of actions.

    Takes `fidelity.samples` rollouts, 2 or more, from states that depend on the `purpose`. Recorded
    actions are inferred as the synthetic ones are, and so is the error; those of a source without
    inverse dynamics are the recorded ones.
    """
    sizes = run.components.fidelity
    size = min(sizes.contexts, len(windows.starts))
    pick_key, key = jax.random.split(run.key(purpose))
    window = windows.at(jax.random.permutation(pick_key, len(windows.starts))[:size])
    discount = jnp.float32(run.dataset.discount)
    drawn = [
        jax.device_get(_roll_out(source, states, window.context, keys, discount))
        for keys in jax.random.split(key, (sizes.samples, size))
    ]
    window = jax.device_get(window)
    exists = window.observation_mask[:, 1:]
    action = window.action[:, :-1]
    if infer is not None:
        action = infer(window.observation[:, :-1], window.observation[:, 1:])
    observations = np.stack([one.observation[:, 1:] for one in drawn])
    actions = np.stack([one.action for one in drawn])
    inferred = slice(1, None)  # the first action of DAWM is given
    return {
        "states": spread_over_error(observations, window.observation[:, 1:], exists),
        "actions": spread_over_error(
            actions[:, :, inferred], action[:, inferred], exists[:, inferred]
        ),
    }


def _inference(source: RolloutSource, states: States) -> Infer | None:
    """The source's inverse dynamics, if it has one."""
    infer_action = getattr(source, "infer_action", None)
    if infer_action is None:
        return None
    compiled = jax.jit(infer_action)
    return lambda observation, following: np.asarray(compiled(states, observation, following))


def _actions(run: Run, simulator: Any, synthetic: Rollouts, infer: Infer) -> dict[str, Any]:
    """How well actions are inferred, between recorded and between synthetic states."""
    _, episodes = run.splits
    assert episodes  # they hold the windows
    held_out = to_transitions(episodes)
    inferred = infer(held_out.observation, held_out.next_observation)
    determined = simulator and (
        simulator.settable(held_out.observation) & simulator.settable(held_out.next_observation)
    )
    return {
        "recorded": explained_variance(inferred, held_out.action),
        "unclipped": simulator and explained_variance(inferred, held_out.action, determined),
        "synthetic": simulator and judge.actions_recovered(simulator, synthetic, infer),
    }


def _compared(
    run: Run, window: Window, rollouts: Rollouts, one_step_state: Any, infer: Infer | None
) -> dict[str, Rollouts]:
    """The windows as recorded, and as the source and the yardsticks continue their first state."""
    exists = window.observation_mask[:, 1:]
    observation, action, terminal = (
        window.observation,
        window.action[:, :-1],
        window.terminal[:, 1:],
    )
    repeated = np.broadcast_to(observation[:, :1], observation.shape)
    followed, gained = jax.jit(run.components.fidelity.one_step_model.roll_out)(
        one_step_state, observation[:, 0], action
    )

    def inferred(states: AnyArray) -> AnyArray:
        if infer is None:
            return action
        actions = np.array(infer(states[:, :-1], states[:, 1:]))
        actions[:, 0] = window.context.action
        return actions

    recorded = Rollouts(observation, inferred(observation), window.reward[:, :-1], terminal, exists)
    return {
        "recorded": recorded,
        "synthetic": rollouts,
        "one_step_model": recorded.replace(
            observation=np.asarray(followed), action=action, reward=np.asarray(gained)
        ),
        "repeated": recorded.replace(observation=repeated, action=inferred(repeated), reward=None),
    }
