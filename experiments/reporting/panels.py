"""Single plots of a source's fidelity, which several pictures share.

Colors are those of Okabe and Ito (2008), which differ for the color-blind, too.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, BLACK, GRAY = "#CC79A7", "#56B4E9", "#000000", "#999999"
COLORS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
SHADES = {
    "synthetic": BLUE,
    "one_step_model": ORANGE,
    "repeated": GRAY,
    "recorded": BLACK,
    "unclipped": SKY,
}
MARKS = {"synthetic": "o-", "one_step_model": "s--", "repeated": "^:", "recorded": "x-."}


def label(name: str) -> str:
    """A name of results.json in words."""
    return name.replace("one_step", "one-step").replace("_", " ")


def explained(axes: Axes, models: dict[str, Any]) -> None:
    """The share of variance that each model explains, over the steps of a window."""
    for name, shares in models.items():
        pooled = shares["pooled"] if isinstance(shares, dict) else shares
        steps = range(1, len(pooled) + 1)
        values = np.array(pooled, float)
        axes.plot(steps, values, MARKS[name], ms=4, color=SHADES[name], label=label(name))
    axes.set_xlabel("step of the window")
    axes.set_ylabel("share explained")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    low = min(max(axes.get_ylim()[0], -0.1), 0.99)  # below 0 is worse than the mean
    axes.set_ylim(low, 1.0 + 0.03 * (1.0 - low))


def by_dimension(models: dict[str, Any]) -> dict[str, list[float | None]]:
    """The figures of each model's dimensions, without models that have none."""
    return {name: one["dimensions"] for name, one in models.items() if one}


def bars(axes: Axes, groups: dict[str, list[float | None]]) -> None:
    """Bars side by side for each group, one a dimension."""
    width = 0.8 / max(len(groups), 1)
    for index, (name, values) in enumerate(groups.items()):
        heights = np.array(values, float)
        at = np.arange(len(heights)) + (index - (len(groups) - 1) / 2) * width
        axes.bar(at, heights, width, color=SHADES[name], label=label(name))
    axes.axhline(1.0, color=GRAY, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def returns(axes: Axes, entries: list[dict[str, Any]]) -> None:
    """Returns obtained over their targets: `fidelity.rollouts.returns` of results.json."""
    own, *others = entries
    names = ("target", "obtained", "standard_error")
    x, y, error = ([entry[name] for entry in others] for name in names)
    axes.errorbar(x, y, error, fmt="o-", ms=4, color=BLUE, label="quantiles of the data")
    x, y, error = (own[name] for name in names)
    axes.errorbar(x, y, error, fmt="s", color=RED, label="each state's own")
    axes.axline((own["target"], own["target"]), slope=1.0, color=GRAY, linewidth=1)
    axes.set_xlabel("target return-to-go / return scale")
    axes.set_ylabel("return of chained rollouts")
    axes.set_aspect("equal", adjustable="datalim")


def spread(axes: Axes, ratios: dict[str, Any]) -> None:
    """Spread over error at each step: `fidelity.rollouts.spread` of results.json."""
    for (name, one), color, mark in zip(ratios.items(), (BLUE, ORANGE), ("o-", "s--"), strict=True):
        values = np.array(one["pooled"], float)
        first = 2 if name == "actions" and len(values) < len(ratios["states"]["pooled"]) else 1
        axes.plot(np.arange(len(values)) + first, values, mark, ms=4, color=color, label=name)
    axes.axhline(1.0, color=GRAY, linewidth=1)
    axes.set_ylim(0.0, max(1.1, axes.get_ylim()[1]))
    axes.set_xlabel("step of the window")
    axes.set_ylabel("spread / error")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
