"""How close imagined windows and inferred actions come to recorded ones, held out from training."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.data.windows import WindowSet
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.models.inverse_dynamics import InverseDynamics, InverseDynamicsState
from dawm_jax.models.window_diffusion import DEFAULT_SAMPLING, ModelState, WorldModel
from dawm_jax.sources.generate import rollout_transitions
from dawm_jax.types import AnyArray, Array, Context, Rollout, Window

VARIES = 1e-12  # below this variance a feature is a constant


def explained_variance(
    predicted: AnyArray, true: AnyArray, mask: AnyArray | None = None
) -> dict[str, Any]:
    """Share of variance explained: 1 is perfect, 0 no better than the mean.

    Args:
        predicted, true: (B, features).
        mask: (B,) bool; which rows count, all unless given.

    Returns:
        `dimensions`, the share of each feature, and `pooled`, that of all features scaled to unit
        variance; None where nothing varies.
    """
    rows = np.ones(len(true), bool) if mask is None else np.asarray(mask)
    if not rows.any():
        return {"pooled": None, "dimensions": [None] * np.shape(true)[-1]}
    truth, guess = (np.asarray(a, np.float64)[rows] for a in (true, predicted))
    variance = truth.var(axis=0)
    varies = variance > VARIES
    share = 1.0 - np.mean((guess - truth) ** 2, axis=0) / np.where(varies, variance, 1.0)
    return {
        "pooled": float(share[varies].mean()) if varies.any() else None,
        "dimensions": [float(s) if v else None for s, v in zip(share, varies, strict=True)],
    }


def explained_at_steps(predicted: AnyArray, true: AnyArray, mask: AnyArray) -> dict[str, Any]:
    """`explained_variance` at each step of windows.

    Args:
        predicted, true: (B, T, features).
        mask: (B, T) bool; which rows count.

    Returns:
        `pooled`, T shares, and `dimensions`, T lists of a share for each feature.
    """
    steps = [
        explained_variance(predicted[:, t], true[:, t], mask[:, t]) for t in range(true.shape[1])
    ]
    return {name: [step[name] for step in steps] for name in ("pooled", "dimensions")}


def variance_ratio(generated: AnyArray, true: AnyArray, mask: AnyArray) -> dict[str, Any]:
    """Variance of generated states to that of recorded ones, over all steps that count.

    Args:
        generated, true: (B, T, features).
        mask: (B, T) bool.
    """
    rows = np.asarray(mask)
    made, recorded = (np.asarray(a, np.float64)[rows].var(axis=0) for a in (generated, true))
    varies = recorded > VARIES
    ratio = made / np.where(varies, recorded, 1.0)
    return {
        "pooled": float(ratio[varies].mean()) if varies.any() else None,
        "dimensions": [float(r) if v else None for r, v in zip(ratio, varies, strict=True)],
    }


def terminal_agreement(true: AnyArray, predicted: AnyArray) -> dict[str, float | None]:
    """Precision and recall of flags (B,) bool, and the base rate; None where undefined."""
    hits, asked, present = (int(x.sum()) for x in (true & predicted, predicted, true))
    return {
        "precision": hits / asked if asked else None,
        "recall": hits / present if present else None,
        "base_rate": present / len(true) if len(true) else None,
    }


def compare_windows(
    world_model: WorldModel,
    state: ModelState,
    windows: WindowSet,
    key: Array,
    sampling: Sampling = DEFAULT_SAMPLING,
    count: int = 4096,
    chunk: int | None = None,
) -> tuple[Window, Rollout]:
    """Up to `count` recorded windows, and those imagined from their first state and action.

    The return-to-go asked for is the recorded one. At most `chunk` windows are imagined at once, on
    one device; all unless given.
    """
    pick_key, sample_key = jax.random.split(key)
    size = min(count, len(windows.starts))
    picked = jax.random.permutation(pick_key, len(windows.starts))[:size]
    keys = jax.random.split(sample_key, size)
    length = windows_a_call(size, chunk or size)
    # The last call is filled up with the first windows, so that all are of one length.
    numbers = jnp.resize(jnp.arange(size), (-(-size // length), length))
    made = [
        _sample(world_model, state, windows.at(picked[rows]).context, keys[rows], sampling)
        for rows in numbers
    ]
    rollout = jax.tree.map(lambda *parts: np.concatenate(parts)[:size], *jax.device_get(made))
    return jax.device_get(windows.at(picked)), rollout


def windows_a_call(count: int, chunk: int) -> int:
    """Windows of each call, where `count` take the fewest calls of at most `chunk`, all alike."""
    return -(-count // -(-count // chunk))


@partial(jax.jit, static_argnames=("world_model", "sampling"))
def _sample(
    world_model: WorldModel, state: ModelState, context: Context, keys: Array, sampling: Sampling
) -> Rollout:
    return world_model.sample(state, context, keys, sampling)


@partial(jax.jit, static_argnames=("world_model", "inverse_dynamics", "sampling", "windows"))
def imagined_return(
    world_model: WorldModel,
    model_state: ModelState,
    inverse_dynamics: InverseDynamics,
    idm_state: InverseDynamicsState,
    context: Context,
    discount: Array,
    return_scale: Array,
    key: Array,
    sampling: Sampling,
    windows: int,
) -> Array:
    """The discounted return of episodes imagined window after window, to set beside the one asked.

    A window goes on from the last but one state of the one before, whose action is inferred, and
    asks for what is left of the wanted return. Each adds T - 2 steps, T at least 3.

    Args:
        context: B contexts; their return-to-go is asked for.
        windows: how many follow each other; the rewards after them are left out.

    Returns:
        (B,) in units of the return scale.
    """
    steps = world_model.horizon - 2
    weight = discount ** jnp.arange(steps)

    def imagine(
        carry: tuple[Context, Array, Array, Array], key: Array
    ) -> tuple[tuple[Context, Array, Array, Array], None]:
        context, total, factor, alive = carry
        keys = jax.random.split(key, len(alive))
        rollout = world_model.sample(model_state, context, keys, sampling)
        made, valid = rollout_transitions(rollout, context, inverse_dynamics, idm_state, discount)
        gained = (made.reward * valid)[:, :steps] @ weight / return_scale
        following = Context(
            observation=made.observation[:, steps],
            action=made.action[:, steps],
            return_to_go=(context.return_to_go - gained) / discount**steps,
        )
        total = total + factor * alive * gained
        return (following, total, factor * discount**steps, alive & valid[:, steps]), None

    count = len(context.action)
    start = (context, jnp.zeros(count), jnp.float32(1.0), jnp.ones(count, bool))
    (_, total, _, _), _ = jax.lax.scan(imagine, start, jax.random.split(key, windows))
    return total
