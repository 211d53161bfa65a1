"""The spaces of imported data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from dawm_jax.data.columns import Fields
from dawm_jax.errors import require
from experiments.simulation.environments import make
from experiments.simulation.import_options import Options

MARGIN = 1e-6  # relative to the range; what lies less beyond the bounds is rounding


def check_sizes(spec: Any | None, found: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Raises UserError unless an environment has observations and actions of the data's shapes."""
    if spec is None:
        return
    with make(spec) as made:
        sizes = made.observation_space.shape, made.action_space.shape
    require(
        sizes == found,
        f"observations and actions in {spec.id} have shapes {sizes}, those of the data {found}: "
        "name another environment (--env)",
    )


def action_space(
    episodes: Sequence[Fields], options: Options, spec: Any | None, unit: bool
) -> tuple[Box, str]:
    """The space of the actions, and a line about its bounds.

    The bounds are the options', else the environment's, else -1 and 1 if `unit`, else the range of
    the data.

    Raises:
        UserError: the options are not one number for all actions or one for each, a low bound is
            not below the high one, or they are not the environment's.
    """
    first = episodes[0]["actions"]
    shape, dtype = first.shape[1:], first.dtype.type
    least = np.min([episode["actions"].min(0) for episode in episodes], axis=0)
    most = np.max([episode["actions"].max(0) for episode in episodes], axis=0)
    low, high, whose = least, most, "the range of the data"
    if spec is not None:
        with make(spec) as made:
            space = made.action_space
        assert isinstance(space, Box)  # it has the shape of the data's actions
        low, high, whose = space.low, space.high, f"those of {spec.id}"
    elif unit:
        low, high, whose = -np.ones(shape), np.ones(shape), "those of the format"
    if options.action_low or options.action_high:
        given = _given(options, shape)
        require(
            spec is None
            or all(np.allclose(*pair) for pair in zip(given, (low, high), strict=True)),
            f"--action_low and --action_high differ from the bounds {whose}: leave them out",
        )
        (low, high), whose = given, "those of the flags"
    margin = MARGIN * (high - low)
    counts = [
        int(((a < low - margin) | (a > high + margin)).sum())
        for a in (episode["actions"] for episode in episodes)
    ]
    share = sum(counts) / sum(episode["actions"].size for episode in episodes)
    clipped = f"; {share:.2%} of the entries lie beyond them, and are clipped in training"
    line = f"action bounds: {whose}, {_brief(low)} to {_brief(high)}{clipped if share else ''}"
    return Box(low.astype(dtype), high.astype(dtype), shape, dtype), line


def _given(options: Options, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    width = int(np.prod(shape))
    for flag, bounds in (("low", options.action_low), ("high", options.action_high)):
        require(
            len(bounds) in (1, width),
            f"--action_{flag} has {len(bounds)} numbers; one for all or one for each of {width} "
            "actions is expected, and both flags",
        )
    low, high = (
        np.broadcast_to(np.array(bounds), width).reshape(shape)
        for bounds in (options.action_low, options.action_high)
    )
    require(
        bool((low < high).all()) and bool(np.isfinite(high - low).all()),
        f"the action bounds are {_brief(low)} to {_brief(high)}; finite ones are expected, the low "
        "ones below the high ones",
    )
    return low, high


def _brief(bounds: np.ndarray) -> str:
    """One number where all are equal."""
    texts = [f"{bound:.6g}" for bound in bounds.reshape(-1)]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
