"""Imagined windows judged by recorded ones and by the simulator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dawm_jax.evaluation.fidelity import (
    explained_at_steps,
    explained_variance,
    terminal_agreement,
    variance_ratio,
)
from dawm_jax.types import Window
from experiments.simulation.simulator import Simulator

Infer = Callable[[np.ndarray, np.ndarray], np.ndarray]  # states and next states -> actions


@dataclass(frozen=True)
class Imagined:
    """B windows of T states as some model has them, with the actions that lead through them."""

    observation: np.ndarray  # (B, T, observation_dim)
    action: np.ndarray  # (B, T - 1, action_dim)
    reward: np.ndarray | None  # (B, T - 1)
    valid: np.ndarray  # (B, T - 1) bool; the transitions that exist

    def first(self, count: int) -> "Imagined":
        """The first `count` windows."""
        parts = (self.observation, self.action, self.reward, self.valid)
        return Imagined(*(None if part is None else part[:count] for part in parts))


def against_the_data(window: Window, imagined: dict[str, Imagined]) -> dict[str, Any]:
    """States, rewards and variance of each model's windows beside the recorded ones."""
    models = {name: one for name, one in imagined.items() if name != "recorded"}
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
    simulator: Simulator, imagined: dict[str, Imagined]
) -> dict[str, dict[str, Any]]:
    """Changes of state and rewards beside those that the actions have in the simulator."""
    report: dict[str, dict[str, Any]] = {"changes": {}, "rewards": {}}
    for name, one in imagined.items():
        before, after = one.observation[:, :-1], one.observation[:, 1:]
        known = one.valid & simulator.settable(before) & simulator.settable(after)
        following = np.zeros((*known.shape, simulator.features))
        reward = np.zeros(known.shape)
        following[known], reward[known] = simulator.step(before[known], one.action[known])
        start = before[..., : simulator.features]
        change = after[..., : simulator.features] - start
        report["changes"][name] = explained_at_steps(change, following - start, known)
        if one.reward is not None:
            shares = explained_at_steps(one.reward[..., None], reward[..., None], known)
            report["rewards"][name] = shares["pooled"]
    return report


def actions_kept(simulator: Simulator, one: Imagined, infer: Infer) -> dict[str, Any] | None:
    """Are actions found again from what they do in generated states?"""
    if simulator.features < one.observation.shape[-1]:
        return None  # part of the following observation would be missing
    state = one.observation[:, 1:-1]  # the first action is not inferred
    known = one.valid[:, 1:] & simulator.settable(state)
    action = one.action[:, 1:][known]
    following, _ = simulator.step(state[known], action)
    told = simulator.settable(following)
    found = infer(state[known][told], following[told].astype(np.float32))
    return explained_variance(found, action[told])


def terminals_by_rule(
    simulator: Simulator, one: Imagined, flags: np.ndarray
) -> dict[str, Any] | None:
    """Generated flags against the environment's own rule on the generated states."""
    rule = simulator.terminal(one.observation[:, 1:][one.valid])
    if rule is None:
        return None
    flagged = flags[one.valid]
    return {**terminal_agreement(rule, flagged), "agreement": float((rule == flagged).mean())}
