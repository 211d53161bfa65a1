"""The pictures of a run."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from dawm_jax.evaluation.scores import mean_interval
from dawm_jax.types import Dataset, Window
from experiments.reporting.scores import reported
from experiments.stages.source import SourceResult

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

COLORS = plt.rcParams["axes.prop_cycle"].by_key()["color"]
STYLES = ("-o", "--s", ":^", "-.D")
SHADES = {
    "synthetic": COLORS[0],
    "one_step_model": COLORS[1],
    "repeated": COLORS[7],
    "recorded": COLORS[2],
    "unclipped": COLORS[8],
}
SHOWN = 1_000_000  # synthetic transitions at most


def draw(
    workdir: Path, results: dict[str, Any], dataset: Dataset, sources: list[SourceResult]
) -> list[Path]:
    """Draws every picture that the results have data for, and returns their files."""
    pictures = {}
    if any(reported(entry)["curve"][-1]["returns"] for entry in results["learners"]):
        pictures["learning_curves"] = learning_curves(results)
    for source in sources:
        if source.windows is not None:
            assert source.synthetic
            rewards = source.synthetic.reward
            rewards = np.asarray(rewards[:: -(-len(rewards) // SHOWN)])
            figures = {
                "trajectories": trajectories(*source.windows),
                "distributions": distributions(*source.windows, dataset, rewards),
                "fidelity": fidelity(source.results["fidelity"]["rollouts"]),
            }
            pictures |= {f"{kind}-{source.name}": figure for kind, figure in figures.items()}
    paths = []
    for name, figure in pictures.items():
        paths.append(workdir / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
        plt.close(figure)
    return paths


def learning_curves(results: dict[str, Any]) -> plt.Figure:
    """The reported policy's mean over the updates: a color per learner, a line per source.

    Shaded is the 95 % interval over seeds, or the range of few seeds. Shown are normalized scores,
    or returns where the data set has no reference for them.
    """
    scored = results["dataset"]["score_mean"] is not None
    values = "scores" if scored else "returns"
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    learners = list(dict.fromkeys(entry["name"] for entry in results["learners"]))
    sources = list(dict.fromkeys(entry["source"] for entry in results["learners"]))
    for entry in results["learners"]:
        curve = reported(entry)["curve"]
        updates, scores = ([point[name] for point in curve] for name in ("updates", values))
        spreads = [mean_interval(s) or (min(s), max(s)) for s in scores]
        low, high = zip(*spreads, strict=True)
        color = COLORS[learners.index(entry["name"]) % len(COLORS)]
        style = STYLES[sources.index(entry["source"]) % len(STYLES)]
        label = f"{entry['name']}, {entry['source']}"
        axes.plot(updates, [np.mean(s) for s in scores], style, ms=4, color=color, label=label)
        axes.fill_between(updates, low, high, color=color, alpha=0.12, linewidth=0)
        if len(updates) == 1:
            axes.vlines(updates, low, high, color=color, alpha=0.5)
    data = results["dataset"]["score_mean" if scored else "return_mean"]
    axes.axhline(data, color="gray", linewidth=1, label="data, mean episode")
    axes.set_xlabel("updates")
    axes.set_ylabel("normalized score" if scored else "return")
    axes.set_title(f"{results['dataset']['id']}, {results['config']['seeds']} seeds")
    figure.legend(loc="outside right upper")
    return figure


def trajectories(window: Window, rollouts: Any, count: int = 4, features: int = 6) -> plt.Figure:
    """Some held-out windows, and rollouts from their first states."""
    varied = np.argsort(-window.observation.var(axis=(0, 1)))[:features]
    figure, grid = plt.subplots(
        len(varied) + 1,
        count,
        figsize=(3 * count, 1.6 * (len(varied) + 1)),
        sharex=True,
        layout="constrained",
    )
    chosen = np.linspace(0, len(window.reward) - 1, count).astype(int)
    for column, index in enumerate(chosen):
        pairs = [
            (window.observation[index, :, d], rollouts.observation[index, :, d]) for d in varied
        ]
        pairs.append((window.reward[index, :-1], rollouts.reward[index]))
        shown = [window.observation_mask[index]] * len(varied) + [window.reward_mask[index, :-1]]
        for row, ((true, synthetic), mask) in enumerate(zip(pairs, shown, strict=True)):
            grid[row, column].plot(np.where(mask, true, np.nan), "o-", ms=3, label="recorded")
            grid[row, column].plot(
                np.where(mask, synthetic, np.nan), "x--", ms=4, label="synthetic"
            )
    for row, name in enumerate([*(f"observation {d}" for d in varied), "reward"]):
        grid[row, 0].set_ylabel(name)
    for axes in grid[-1]:
        axes.set_xlabel("step of the window")
    grid[0, 0].legend()
    return figure


def distributions(
    window: Window, rollouts: Any, dataset: Dataset, synthetic_rewards: np.ndarray
) -> plt.Figure:
    """Rewards and window returns, held-out and of rollouts; the data's return-to-go.

    The synthetic transitions' rewards are those at the target return-to-go.
    """
    figure, (rewards, returns, to_go) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    mask, recorded = window.reward_mask[:, :-1], window.reward[:, :-1]
    whole = mask.all(axis=1)
    pairs = (
        (rewards, "reward", recorded[mask], rollouts.reward[mask]),
        (returns, "return of a window", recorded[whole].sum(1), rollouts.reward[whole].sum(1)),
    )
    for axes, name, true, synthetic in pairs:
        bins = np.histogram_bin_edges(np.concatenate([true, synthetic]), 60)
        axes.hist(true, bins, density=True, alpha=0.4, label="recorded, held out")
        shared = {"density": True, "histtype": "step", "linewidth": 1.5}
        axes.hist(synthetic, bins, label="rollouts from there", **shared)
        if axes is rewards:
            axes.hist(synthetic_rewards, bins, label="synthetic transitions", **shared)
        axes.set_xlabel(name)
        axes.set_ylabel("density")
        axes.legend(fontsize="small")
    scaled = np.asarray(dataset.episodes.return_to_go)[np.asarray(dataset.episodes.steps_left) > 0]
    to_go.hist(scaled / dataset.return_scale, 60, density=True, alpha=0.4)
    to_go.set_xlabel("return-to-go of the data / return scale")
    return figure


def fidelity(report: dict[str, Any]) -> plt.Figure:
    """The figures of `held_out.measure` on one page."""
    figure, grid = plt.subplots(2, 3, figsize=(14, 8), layout="constrained")
    simulator = report["simulator"] or {"changes": {}, "rewards": {}}
    panels = (
        ("states, of the recorded variance", report["states"]),
        ("changes of state, of the simulator's variance", simulator["changes"]),
        ("rewards, of the recorded variance", report["rewards"]),
    )
    for axes, (title, models) in zip(grid.flat, panels, strict=False):
        for name, shares in models.items():
            pooled = shares["pooled"] if isinstance(shares, dict) else shares
            steps = range(1, len(pooled) + 1)
            axes.plot(steps, np.array(pooled, float), "o-", ms=3, color=SHADES[name], label=name)
        axes.set_title(title)
        axes.set_xlabel("step of the window")
        axes.set_ylabel("share explained")
        low = min(max(axes.get_ylim()[0], -0.1), 0.99)  # below 0 is worse than the mean
        axes.set_ylim(low, 1.0 + 0.03 * (1.0 - low))
    _bars(grid[1, 0], {n: r["dimensions"] for n, r in report["variance_ratio"].items()})
    grid[1, 0].set_title("variance of states, synthetic / recorded")
    grid[1, 0].set_xlabel("observation")
    actions = {n: a["dimensions"] for n, a in (report["actions"] or {}).items() if a}
    _bars(grid[1, 1], actions)
    grid[1, 1].set_title("actions inferred, share of variance explained")
    grid[1, 1].set_xlabel("action")
    grid[1, 1].set_ylim(max(grid[1, 1].get_ylim()[0], -0.1), 1.03)
    if report["returns"]:
        own, *others = report["returns"]
        columns = {
            name: [entry[name] for entry in others]
            for name in ("target", "obtained", "standard_error")
        }
        grid[1, 2].errorbar(*columns.values(), fmt="o-", ms=3, label="quantiles of the data")
        grid[1, 2].errorbar(*(own[name] for name in columns), fmt="s", label="each state's own")
        grid[1, 2].axline((0, 0), slope=1.0, color="gray", linewidth=1)
        grid[1, 2].set_xlabel("target return-to-go / return scale")
        grid[1, 2].set_ylabel("return of chained rollouts")
    for axes in grid.flat:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", loc="lower left")
    return figure


def _bars(axes: plt.Axes, groups: dict[str, list[float | None]]) -> None:
    """Bars side by side for each group, one a dimension."""
    width = 0.8 / max(len(groups), 1)
    for index, (name, values) in enumerate(groups.items()):
        heights = np.array(values, float)
        at = np.arange(len(heights)) + (index - (len(groups) - 1) / 2) * width
        axes.bar(at, heights, width, color=SHADES[name], label=name)
    axes.axhline(1.0, color="gray", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
