"""Rollouts judged by recorded ones and by the simulator."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import struct

from dawm_jax.evaluation.fidelity import (
    explained_at_steps,
    explained_variance,
    terminal_agreement,
    variance_ratio,
)
from dawm_jax.types import AnyArray, Transition, Window
from experiments.simulation.simulator import Simulator

Infer = Callable[[AnyArray, AnyArray], np.ndarray]  # states and next states -> actions


class Rollouts(struct.PyTreeNode):
    """B windows of T states from some model, with the actions that lead through them."""

    observation: AnyArray  # (B, T, observation_dim)
    action: AnyArray  # (B, T - 1, action_dim)
    reward: AnyArray | None  # (B, T - 1)
    terminal: AnyArray  # (B, T - 1) bool; whether the step ends in a terminal state
    valid: AnyArray  # (B, T - 1) bool; the transitions that exist

    def first(self, count: int) -> "Rollouts":
        """The first `count` windows."""
        return jax.tree.map(lambda leaf: leaf[:count], self)


def against_the_data(window: Window, rollouts: dict[str, Rollouts]) -> dict[str, Any]:
    """States, rewards and variance of each model's windows beside the recorded ones."""
    models = {name: one for name, one in rollouts.items() if name != "recorded"}
    true, exists = window.observation[:, 1:], window.observation_mask[:, 1:]
    generated = {name: one.observation[:, 1:] for name, one in models.items()}
    rewards = {
        name: explained_at_steps(one.reward[..., None], window.reward[:, :-1, None], exists)
        for name, one in models.items()
        if one.reward is not None
    }
    return {
        "states": {
            name: explained_at_steps(states, true, exists) for name, states in generated.items()
        },
        "rewards": {name: shares["pooled"] for name, shares in rewards.items()},
        "variance_ratio": {
            name: variance_ratio(states, true, exists) for name, states in generated.items()
        },
    }


def against_the_simulator(
    simulator: Simulator, rollouts: dict[str, Rollouts]
) -> dict[str, dict[str, Any]]:
    """Changes of state and rewards beside those that the actions have in the simulator."""
    report: dict[str, dict[str, Any]] = {"changes": {}, "rewards": {}}
    for name, one in rollouts.items():
        before, after = one.observation[:, :-1], one.observation[:, 1:]
        known = one.valid & simulator.settable(before) & simulator.settable(after)
        following = np.zeros((*known.shape, simulator.features))
        reward = np.zeros(known.shape)
        following[known], reward[known], _ = simulator.step(before[known], one.action[known])
        start = before[..., : simulator.features]
        change = after[..., : simulator.features] - start
        report["changes"][name] = explained_at_steps(change, following - start, known)
        if one.reward is not None:
            shares = explained_at_steps(one.reward[..., None], reward[..., None], known)
            report["rewards"][name] = shares["pooled"]
    return report


def actions_recovered(simulator: Simulator, one: Rollouts, infer: Infer) -> dict[str, Any] | None:
    """How well actions are inferred again from their outcome in synthetic states."""
    if simulator.features < one.observation.shape[-1]:
        return None  # part of the following observation would be missing
    state = one.observation[:, 1:-1]  # the first action is not inferred
    known = one.valid[:, 1:] & simulator.settable(state)
    action = one.action[:, 1:][known]
    following, *_ = simulator.step(state[known], action)
    told = simulator.settable(following)
    found = infer(state[known][told], following[told].astype(np.float32))
    return explained_variance(found, action[told])


def terminals_by_rule(simulator: Simulator, one: Rollouts) -> dict[str, Any] | None:
    """Terminal flags against the environment's own rule on the synthetic states."""
    rule = simulator.terminal(one.observation[:, 1:][one.valid])
    if rule is None:
        return None
    flagged = one.terminal[one.valid]
    return {**terminal_agreement(rule, flagged), "agreement": float((rule == flagged).mean())}


def transitions(simulator: Simulator, step: Transition) -> dict[str, Any]:
    """Synthetic transitions as learners see them, against what the simulator does.

    Args:
        step: N transitions on the host. Those from or to a state that the simulator cannot be set
            to are left out.
    """
    known = simulator.settable(step.observation) & simulator.settable(step.next_observation)
    before, after = (
        x[known][:, : simulator.features] for x in (step.observation, step.next_observation)
    )
    following, reward, ends = simulator.step(step.observation[known], step.action[known])
    return {
        "judged": int(known.sum()),
        "changes": explained_variance(after - before, following - before),
        "rewards": explained_variance(step.reward[known, None], reward[:, None])["pooled"],
        "reward_bias": float(np.mean(step.reward[known] - reward)) if known.any() else None,
        "terminals": terminal_agreement(ends, step.discount[known] == 0.0),
    }
