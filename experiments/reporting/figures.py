"""The pictures of a run."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from dawm_jax.evaluation.scores import mean_interval
from dawm_jax.types import Dataset, Window
from experiments.reporting import panels
from experiments.reporting.scores import reported
from experiments.stages.source import SourceResult

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLES = ("-o", "--s", ":^", "-.D")
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
            single = None if source.sums_rewards else rewards
            figures = {
                "trajectories": trajectories(*source.windows),
                "distributions": distributions(*source.windows, dataset, single),
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
        color = panels.COLORS[learners.index(entry["name"]) % len(panels.COLORS)]
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
    window: Window, rollouts: Any, dataset: Dataset, synthetic_rewards: np.ndarray | None
) -> plt.Figure:
    """Rewards and window returns, held-out and of rollouts; the data's return-to-go.

    The synthetic transitions' rewards, of single steps, are those at the target return-to-go.
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
        if axes is rewards and synthetic_rewards is not None:
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
    shares = (
        ("states, of the recorded variance", report["states"]),
        ("changes of state, of the simulator's variance", simulator["changes"]),
        ("rewards, of the recorded variance", report["rewards"]),
    )
    for axes, (title, models) in zip(grid.flat, shares, strict=False):
        panels.explained(axes, models)
        axes.set_title(title)
    panels.bars(grid[1, 0], panels.by_dimension(report["variance_ratio"]))
    grid[1, 0].set_title("variance of states, synthetic / recorded")
    grid[1, 0].set_xlabel("observation")
    panels.bars(grid[1, 1], panels.by_dimension(report["actions"] or {}))
    grid[1, 1].set_title("actions inferred, share of variance explained")
    grid[1, 1].set_xlabel("action")
    grid[1, 1].set_ylim(max(grid[1, 1].get_ylim()[0], -0.1), 1.03)
    if report["returns"]:
        panels.returns(grid[1, 2], report["returns"])
    for axes in grid.flat:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", loc="lower left")
    return figure
