"""The results of a run: results.json, pictures, and a table on the terminal."""

import json
from typing import Any

import numpy as np

from dawm_jax.data.references import REFERENCE_SCORES, robot_of
from dawm_jax.data.spaces import Layout
from dawm_jax.evaluation.scores import interquartile_mean, mean_interval, normalized_score
from dawm_jax.types import Dataset
from experiments.reporting.scores import scores
from experiments.run.context import Run
from experiments.simulation.evaluator import Evaluator
from experiments.stages.learn import Learned, policies
from experiments.stages.source import SourceResult
from experiments.store.files import write_json


def write(
    run: Run, sources: list[SourceResult], learned: list[Learned], evaluator: Evaluator | None
) -> dict[str, Any]:
    """Writes results.json (its fields: docs/results.md) and the pictures; prints the table."""
    results: dict[str, Any] = {
        "config": run.config.to_dict(),
        "versions": json.loads((run.workdir / "versions.json").read_text()),
        "dataset": _dataset(run.dataset),
        "random_score": _random_score(run.dataset, evaluator),
        "sources": {source.name: source.results for source in sources},
    }
    results["dataset"]["score_note"] = score_note(results["dataset"])
    results["learners"] = [learner_entry(run, entry) for entry in learned]
    write_json(run.workdir / "results.json", results)
    from experiments.reporting import figures

    pictures = figures.draw(run.workdir, results, run.dataset, sources)
    print(scores(results))
    print(f"\nwrote {run.workdir}: results.json, {', '.join(p.name for p in pictures)}")
    return results


def _dataset(dataset: Dataset) -> dict[str, Any]:
    reference, environment = dataset.reference_scores, dataset.evaluation_environment
    returns = dataset.recorded_returns
    scores = normalized_score(returns, reference) if reference else None
    return {
        "id": dataset.id,
        "synthetic": list(dataset.synthetic),
        "episodes": len(dataset.lengths),
        "transitions": dataset.transitions,
        "environment": environment.id if environment else None,
        "observation": parts(dataset.observation_layout),
        "action": parts(dataset.action_layout),
        "return_mean": float(returns.mean()),
        "return_best": float(returns.max()),
        "reference_scores": reference,
        "reference_note": dataset.reference_note,
        "score_mean": None if scores is None else float(scores.mean()),
        "score_best": None if scores is None else float(scores.max()),
    }


def parts(layout: Layout) -> list[dict[str, Any]]:
    """The parts of a vector in order: the name of each in a nested space, and its size."""
    return [{"name": name, "size": size} for name, size in layout.sizes.items()]


def _random_score(dataset: Dataset, evaluator: Evaluator | None) -> float | None:
    """The normalized score of uniform random actions."""
    if evaluator is None or dataset.reference_scores is None:
        return None
    returns = evaluator.random_returns(dataset)
    return float(normalized_score(returns, dataset.reference_scores).mean())


def learner_entry(run: Run, entry: Learned) -> dict[str, Any]:
    """One entry: final scores and learning curve of each policy, the reported one first."""
    record = entry.trained.record
    return {
        "name": entry.learner,
        "source": entry.source,
        "stage": entry.trained.stage.folder_name,
        "commit": record["commit"],
        "policies": {
            policy: _policy(run, policy, record["curve"]) for policy in policies(run.config.policy)
        },
        "updates_per_second": record["updates_per_second"],
        "metrics": record["metrics"],
        "metrics_updates": record["metrics_updates"],
    }


def _policy(run: Run, policy: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """The final returns and scores of a policy's seeds, and its learning curve."""
    curve = []
    for point in points:
        returns = point["returns"].get(policy, [])
        means = [float(np.mean(row)) for row in returns]
        scores = _scores(run.dataset, returns)
        curve.append({"updates": point["updates"], "returns": means, "scores": scores})
    seeds = [
        {
            "seed": run.config.seed + index,
            "returns": returns[index] if returns else [],
            "normalized_score": scores[index] if scores else None,
        }
        for index in range(run.config.seeds)
    ]
    interval = mean_interval(scores)
    return {
        "seeds": seeds,
        "mean": float(np.mean(scores)) if scores else None,
        "iqm": interquartile_mean(scores) if scores else None,
        "ci95": list(interval) if interval else None,
        "curve": curve,
    }


def _episode_scores(dataset: Dataset, returns: list[float]) -> list[float]:
    if dataset.reference_scores is None:
        return []
    return normalized_score(returns, dataset.reference_scores).tolist()


def _scores(dataset: Dataset, returns: list[list[float]]) -> list[float]:
    """The mean normalized score of each seed's episodes; empty without scores."""
    return [float(np.mean(s)) for row in returns if (s := _episode_scores(dataset, row))]


def score_note(dataset: dict[str, Any]) -> str | None:
    """A note on what the normalized scores can be compared with."""
    environment, note = dataset["environment"], dataset.get("reference_note")
    if environment is None or dataset["reference_scores"] is None:
        return note
    about = f"Scores from 0 to 100 by the data set's reference returns, on {environment}"
    of_d4rl = dataset["id"].lower().startswith("d4rl/")
    if robot_of(environment) not in REFERENCE_SCORES:
        about = f"{about}."
    elif of_d4rl and environment.endswith(("-v2", "-v3", "-v4")):
        about = f"{about}: as in D4RL's v2 tables, but for the version of MuJoCo."
    else:
        about = f"{about}: not comparable with D4RL's v2 tables, whose rewards and physics differ."
    return f"{about} {note}" if note else about
