"""What a data set holds, in a few lines of text."""

from collections.abc import Sequence

import numpy as np

from dawm_jax.data.columns import Columns

SHOWN = 24  # features with a line of their own


def summary(
    columns: Columns,
    observation_names: Sequence[str] = (),
    action_names: Sequence[str] = (),
) -> str:
    """Episodes, ends, lengths, returns, widths and ranges, a line each.

    Args:
        columns: of at least one episode.
        observation_names: of the features; their numbers unless given.
    """
    ended, episodes = int(columns.terminated.sum()), len(columns.lengths)
    ends = f"{ended:,} to a terminal state, {episodes - ended:,} truncated"
    lengths, returns = columns.lengths, columns.returns
    observations = columns.observations + columns.origin
    return "\n".join(
        [
            f"episodes: {episodes:,}, {ends}",
            f"steps: {len(columns.rewards):,}",
            f"lengths: {lengths.min():,} to {lengths.max():,}, mean {lengths.mean():,.1f}",
            f"returns: {returns.min():.6g} to {returns.max():.6g}, mean {returns.mean():.6g}",
            f"rewards: {columns.rewards.min():.6g} to {columns.rewards.max():.6g}",
            *_features("observations", observations, observation_names),
            *_features("actions", columns.actions, action_names),
        ]
    )


def _features(what: str, rows: np.ndarray, names: Sequence[str]) -> list[str]:
    width = rows.shape[1]
    names = names or [str(i) for i in range(width)]
    lines = [
        f"  {name}: {low:.6g} to {high:.6g}" + (", constant" if low == high else "")
        for name, low, high in zip(names, rows.min(0), rows.max(0), strict=True)
    ]
    more = [f"  and {width - SHOWN} more"] if width > SHOWN else []
    return [f"{what}: {width} wide", *lines[:SHOWN], *more]
