"""Goal-conditioned data: which goals belong to an observation.

Their spaces are Dicts of `observation`, `desired_goal` and `achieved_goal` (Gymnasium-Robotics).
The desired goal joins the observation. The achieved one mostly repeats a part of it, and is left
out; not so in AntMaze, where the position is in the achieved goal alone.
"""

import warnings
from dataclasses import replace

import numpy as np

from dawm_jax.data.columns import Columns
from dawm_jax.data.spaces import Layout

KEYS = {"observation", "desired_goal", "achieved_goal"}
SAMPLE = 10_000  # rows compared
ALIKE = 0.99  # correlation from which a number counts as repeated, as some are noisy copies


def choose_goals(name: str, columns: Columns, layout: Layout, goals: str) -> tuple[Columns, Layout]:
    """The observations of the data set `name` with the goals that belong to them.

    Warns if the achieved goal is left out though the observation does not repeat it.

    Args:
        goals: 'desired', or 'both' to keep the achieved goal.
    """
    if goals == "both" or not {part.path[0] for part in layout.parts if part.path} >= KEYS:
        return columns, layout
    achieved, kept = layout.under("achieved_goal"), layout.without("achieved_goal")
    own = layout.under("observation")
    sample = columns.observations[:: max(1, len(columns.observations) // SAMPLE)]
    alone = _unrepeated(sample[:, layout.places(achieved)], sample[:, layout.places(own)])
    if alone:
        warnings.warn(
            f"{alone} of the {achieved.size} numbers of the achieved goal of '{name}' are not in "
            "its observation, which alone may not tell the state; to keep the achieved goal, set "
            "goals to 'both'",
            stacklevel=3,
        )
    places = layout.places(kept)
    return replace(
        columns, observations=columns.observations[:, places], origin=columns.origin[places]
    ), kept


def _unrepeated(values: np.ndarray, others: np.ndarray) -> int:
    """How many columns of `values` vary and are no linear function of one of the `others`."""
    standard = [
        (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), np.inf)
        for x in (values.astype(np.float64), others.astype(np.float64))
    ]
    varies = standard[0].any(axis=0)
    correlation = np.abs(standard[0].T @ standard[1]) / max(1, len(values))
    return int(np.sum(varies & (correlation.max(axis=1, initial=0.0) < ALIKE)))
