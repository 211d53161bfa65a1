"""How close imagined windows and inferred actions come to recorded ones, held out from training."""

from functools import partial

import jax
import numpy as np

from dawm_jax.data.windows import WindowSet
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.inverse_dynamics import InverseDynamics, InverseDynamicsState
from dawm_jax.types import AnyArray, Array, Rollout, Transition, Window
from dawm_jax.world_model import DEFAULT_SAMPLING, ModelState, WorldModel


def explained_variance(predicted: AnyArray, true: AnyArray, mask: AnyArray) -> list[float | None]:
    """Share of variance explained at each step, pooled over features scaled to unit variance.

    Args:
        predicted, true: (B, T, features).
        mask: (B, T) bool; which rows count.

    Returns:
        T shares: 1 is perfect, 0 no better than the mean, None where nothing varies.
    """
    predicted, true, mask = np.asarray(predicted), np.asarray(true), np.asarray(mask)
    shares: list[float | None] = []
    for step in range(true.shape[1]):
        rows = mask[:, step]
        truth, guess = (a[rows, step].astype(np.float64) for a in (true, predicted))
        variance = truth.var(axis=0) if rows.any() else np.zeros(truth.shape[-1])
        varies = variance > 1e-12
        if not varies.any():
            shares.append(None)
            continue
        error = np.mean((guess - truth)[:, varies] ** 2, axis=0)
        shares.append(float(1.0 - np.mean(error / variance[varies])))
    return shares


def compare_windows(
    world_model: WorldModel,
    state: ModelState,
    windows: WindowSet,
    key: Array,
    sampling: Sampling = DEFAULT_SAMPLING,
    count: int = 4096,
) -> tuple[Window, Rollout]:
    """Up to `count` recorded windows, and those imagined from their first state and action.

    The return-to-go asked for is the recorded one.
    """
    pick_key, sample_key = jax.random.split(key)
    size = min(count, len(windows.starts))
    window = windows.at(jax.random.permutation(pick_key, len(windows.starts))[:size])
    sample = jax.jit(partial(world_model.sample, sampling=sampling))
    rollout = sample(state, window.context, jax.random.split(sample_key, size))
    return jax.device_get((window, rollout))


def window_fidelity(window: Window, rollout: Rollout) -> dict[str, object]:
    """The errors of imagined windows against the recorded ones, per step of the window.

    `states` starts at the window's second state, `rewards` at its first. `states_repeated` is for
    the prediction that the first state stays, which any model has to beat; `changes` is the share
    explained of the change since the first state, where that prediction explains nothing.
    """
    mask = window.observation_mask[:, 1:]
    first = window.observation[:, :1]
    true, generated = window.observation[:, 1:], rollout.observation[:, 1:]
    repeated = np.broadcast_to(first, true.shape)
    variance = np.var(true[mask], axis=0)
    varies = variance > 1e-12
    ratio = np.var(generated[mask], axis=0)[varies] / variance[varies]
    return {
        "windows": len(true),
        "states": explained_variance(generated, true, mask),
        "states_repeated": explained_variance(repeated, true, mask),
        "changes": explained_variance(generated - first, true - first, mask),
        "rewards": explained_variance(
            rollout.reward[..., None], window.reward[..., None], window.reward_mask
        ),
        "variance_ratio": float(ratio.mean()) if varies.any() else None,
        "terminals": terminal_agreement(window.terminal[:, -1], rollout.terminal.any(axis=1)),
    }


def terminal_agreement(true: AnyArray, predicted: AnyArray) -> dict[str, float | None]:
    """Does the window end? Precision, recall and base rate; None where undefined."""
    hits, asked, present = (int(x.sum()) for x in (true & predicted, predicted, true))
    return {
        "precision": hits / asked if asked else None,
        "recall": hits / present if present else None,
        "base_rate": present / len(true),
    }


def action_fidelity(
    inverse_dynamics: InverseDynamics, state: InverseDynamicsState, transitions: Transition
) -> dict[str, object]:
    """Share of the variance of recorded actions that inferred ones explain."""
    predicted = jax.jit(inverse_dynamics.predict)(
        state, transitions.observation, transitions.next_observation
    )
    true = np.asarray(transitions.action)
    error = ((np.asarray(predicted) - true) ** 2).mean(axis=0)
    variance = true.var(axis=0)
    share = [float(1 - e / v) if v > 1e-12 else None for e, v in zip(error, variance, strict=True)]
    pooled = float(1.0 - error.sum() / max(variance.sum(), 1e-12))
    return {"transitions": len(true), "actions": share, "pooled": pooled}
