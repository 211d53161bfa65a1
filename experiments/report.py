"""What a run leaves behind: results.json, pictures, and a table on the terminal."""

import json
from typing import Any

import numpy as np

from dawm_jax.scores import bootstrap_interval, interquartile_mean, normalized_score
from dawm_jax.types import Dataset
from experiments import figures
from experiments.environments import Evaluator
from experiments.files import write_json
from experiments.learning import Learned
from experiments.run import Run
from experiments.sources import Source


def write(
    run: Run, sources: dict[str, Source], learned: list[Learned], evaluator: Evaluator | None
) -> dict[str, Any]:
    """Writes results.json (its fields: docs/results.md) and the pictures; prints the table."""
    results: dict[str, Any] = {
        "config": run.config.to_dict(),
        "versions": json.loads((run.workdir / "versions.json").read_text()),
        "dataset": _dataset(run.dataset),
        "random_score": _random_score(run.dataset, evaluator),
        "world_model": None,
        "inverse_dynamics": None,
        "synthesis": None,
    }
    for source in sources.values():
        results.update(source.results)
    results["dataset"]["score_note"] = score_note(results["dataset"])
    results["learners"] = [_learner(run, entry) for entry in learned]
    write_json(run.workdir / "results.json", results)
    pictures = figures.draw(run.workdir, results, run.dataset, list(sources.values()))
    print(table(results))
    print(f"\n{run.workdir / 'results.json'}; {', '.join(p.name for p in pictures)} beside it")
    return results


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
        {
            "updates": point["updates"],
            "returns": [float(np.mean(row)) for row in point["returns"]],
            "scores": _scores(run.dataset, point["returns"]),
        }
        for point in record["curve"]
    ]
    returns, scores = record["curve"][-1]["returns"], curve[-1]["scores"]
    seeds = [
        {
            "seed": run.config.seed + index,
            "returns": returns[index] if returns else [],
            "normalized_score": scores[index] if scores else None,
        }
        for index in range(run.config.seeds)
    ]
    # The seed is what varies; a single one leaves only its episodes to resample.
    sample = scores if len(scores) != 1 else _episode_scores(run.dataset, returns[0])
    return {
        "name": entry.learner,
        "source": entry.source,
        "commit": record["commit"],
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
    """The final policies as Markdown: yardsticks first, then a row for each learner and source."""
    config, dataset = results["config"], results["dataset"]
    rows = [("data, mean episode", "", dataset["return_mean"], dataset["score_mean"], None, None)]
    if results.get("random_score") is not None:
        rows.insert(0, ("random actions", "", None, results["random_score"], None, None))
    for entry in results["learners"]:
        returns = [value for seed in entry["seeds"] for value in seed["returns"]]
        mean_return = float(np.mean(returns)) if returns else None
        scores = (entry["mean"], entry["iqm"], entry["ci95"])
        rows.append((entry["name"], entry["source"], mean_return, *scores))
    where = f"on {dataset['environment']}" if dataset["environment"] else "that were not evaluated"
    lines = [
        f"Final policies {where} after {config['updates']:,} updates on {dataset['id']}, "
        f"{config['seeds']} seeds x {config['evaluation_episodes']} episodes:",
        "",
        "| learner | source | mean return | normalized score | interquartile mean | "
        "95 % interval of the mean |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, source, *numbers, interval in rows:
        shown = ["" if value is None else f"{value:.1f}" for value in numbers]
        spread = "" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"
        lines.append("| " + " | ".join((name, source, *shown, spread)) + " |")
    for paragraph in (source_effects(results["learners"]), score_note(dataset)):
        lines += ["", paragraph] if paragraph else []
    return "\n".join(lines)


def source_effects(learners: list[dict[str, Any]]) -> str | None:
    """What generated transitions change: each seed's difference to the recorded data alone."""
    real = {entry["name"]: _seed_scores(entry) for entry in learners if entry["source"] == "real"}
    effects = []
    for entry in learners:
        scores, alone = _seed_scores(entry), real.get(entry["name"])
        if entry["source"] == "real" or not scores or not alone or len(scores) == 1:
            continue
        difference = np.subtract(scores, alone)
        low, high = bootstrap_interval(difference)
        change = f"{difference.mean():+.1f} ({low:+.1f} to {high:+.1f})"
        effects.append(f"{entry['name']}, {entry['source']} {change}")
    if not effects:
        return None
    return (
        "Difference of score to the recorded data alone, seed by seed, with its 95 % interval: "
        f"{'; '.join(effects)}."
    )


def _seed_scores(entry: dict[str, Any]) -> list[float]:
    scores = [seed["normalized_score"] for seed in entry["seeds"]]
    return scores if None not in scores else []


def score_note(dataset: dict[str, Any]) -> str | None:
    """What the normalized scores of a data set can be compared with."""
    environment = dataset["environment"]
    if environment is None or dataset["reference_scores"] is None:
        return None
    return (
        f"Scores from 0 to 100 by the data set's reference returns, on {environment}: not "
        "comparable with D4RL's v2 tables, whose rewards and physics differ."
    )


def provenance(results: dict[str, Any]) -> str:
    """Where a table's numbers come from."""
    versions = results["versions"]
    return (
        f"Commit {(versions['commit'] or 'unknown')[:12]}, jax {versions['jax']}, mujoco "
        f"{versions['mujoco']}, {versions['device']} ({versions['cpu_cores']} cores, "
        f"{versions['platform']})."
    )
