"""What a run leaves behind: results.json, pictures, and a table on the terminal."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dawm_jax.scores import bootstrap_interval, interquartile_mean, normalized_score
from dawm_jax.types import Dataset
from experiments import figures
from experiments.environments import Evaluator
from experiments.learning import Learned
from experiments.run import Run
from experiments.sources import Source
from experiments.stages import write_json

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "minari",
    "gymnasium",
    "mujoco",
)


def write(
    run: Run, sources: dict[str, Source], learned: list[Learned], evaluator: Evaluator | None
) -> dict[str, Any]:
    """Writes results.json (its fields: docs/results.md) and the pictures; prints the table."""
    results: dict[str, Any] = {
        "config": run.config.to_dict(),
        "versions": versions(),
        "dataset": _dataset(run.dataset),
        "random_score": _random_score(run.dataset, evaluator),
        "world_model": None,
        "inverse_dynamics": None,
        "synthesis": None,
    }
    for source in sources.values():
        results.update(source.results)
    results["learners"] = [_learner(run, entry) for entry in learned]
    write_json(run.workdir / "results.json", results)
    pictures = figures.draw(run.workdir, results, run.dataset, list(sources.values()))
    print(table(results))
    print(f"\n{run.workdir / 'results.json'}; {', '.join(p.name for p in pictures)} beside it")
    return results


def versions() -> dict[str, Any]:
    """Packages, commit and machine class of this run."""
    device = jax.devices()[0]
    return {
        "dawm_jax": version("dawm-jax"),
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{jax.device_count()} x {device.device_kind}",
        "cpu_cores": os.cpu_count(),
    }


def _commit() -> str | None:
    """The commit of the source tree, with '-dirty' for a changed one; None outside of git."""
    git = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
    ]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _dataset(dataset: Dataset) -> dict[str, Any]:
    reference = dataset.reference_scores
    scores = normalized_score(dataset.returns, reference) if reference else None
    return {
        "id": dataset.id,
        "episodes": len(dataset.lengths),
        "transitions": dataset.transitions,
        "environment": dataset.environment.id if dataset.environment else None,
        "return_mean": float(dataset.returns.mean()),
        "return_best": float(dataset.returns.max()),
        "reference_scores": reference,
        "score_mean": float(scores.mean()) if reference else None,
        "score_best": float(scores.max()) if reference else None,
    }


def _random_score(dataset: Dataset, evaluator: Evaluator | None) -> float | None:
    """The normalized score of uniform random actions."""
    if evaluator is None or dataset.reference_scores is None:
        return None
    return float(normalized_score(evaluator.random_returns(), dataset.reference_scores).mean())


def _learner(run: Run, entry: Learned) -> dict[str, Any]:
    """One row: the final policies of all seeds, and the curve that led to them."""
    record = entry.trained.record
    curve = [
        {"updates": point["updates"], "scores": _scores(run.dataset, point["returns"])}
        for point in record["curve"]
    ]
    returns = record["curve"][-1]["returns"]
    seeds = [
        {
            "seed": run.config.seed + index,
            "returns": returns[index] if returns else [],
            "normalized_score": curve[-1]["scores"][index] if curve[-1]["scores"] else None,
        }
        for index in range(run.config.seeds)
    ]
    scores = curve[-1]["scores"]
    # The seed is what varies; a single one leaves only its episodes to resample.
    sample = scores if len(scores) != 1 else _episode_scores(run.dataset, returns[0])
    return {
        "name": entry.learner,
        "source": entry.source,
        "seeds": seeds,
        "mean": float(np.mean(scores)) if scores else None,
        "iqm": interquartile_mean(scores) if scores else None,
        "ci95": list(bootstrap_interval(sample)) if scores else None,
        "updates_per_second": record["updates_per_second"],
        "metrics": record["metrics"],
        "curve": curve,
    }


def _episode_scores(dataset: Dataset, returns: list[float]) -> list[float]:
    if dataset.reference_scores is None:
        return []
    return normalized_score(returns, dataset.reference_scores).tolist()


def _scores(dataset: Dataset, returns: list[list[float]]) -> list[float]:
    """The mean normalized score of each seed's episodes; empty where there is none."""
    return [float(np.mean(s)) for row in returns if (s := _episode_scores(dataset, row))]


def table(results: dict[str, Any]) -> str:
    """The scores as Markdown: yardsticks first, then a row for each learner and source."""
    config, dataset = results["config"], results["dataset"]
    rows = [
        ("random actions", "", results["random_score"], None, None),
        ("data, mean episode", "", dataset["score_mean"], None, None),
    ]
    rows += [(r["name"], r["source"], r["mean"], r["iqm"], r["ci95"]) for r in results["learners"]]
    lines = [
        f"Normalized score (0 to 100) on {dataset['environment']} of the final policies after "
        f"{config['updates']:,} updates, {config['seeds']} seeds x "
        f"{config['evaluation_episodes']} episodes, data {dataset['id']}:",
        "",
        "| learner | source | mean | interquartile mean | 95 % interval of the mean |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, source, mean, iqm, interval in rows:
        numbers = ["" if value is None else f"{value:.1f}" for value in (mean, iqm)]
        spread = "" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"
        lines.append("| " + " | ".join((name, source, *numbers, spread)) + " |")
    return "\n".join(lines)


def provenance(results: dict[str, Any]) -> str:
    """Where a table's numbers come from."""
    versions = results["versions"]
    return (
        f"Commit {(versions['commit'] or 'unknown')[:12]}, jax {versions['jax']}, mujoco "
        f"{versions['mujoco']}, {versions['device']} ({versions['cpu_cores']} cores, "
        f"{versions['platform']})."
    )
