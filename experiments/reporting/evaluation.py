"""Policies scored again: the content of evaluation.json, and its table."""

from typing import Any

import numpy as np

from dawm_jax.evaluation.scores import FEWEST, mean_interval, normalized_score
from experiments.reporting.results import score_note
from experiments.reporting.scores import markdown
from experiments.run.evaluation import Evaluation, Reference
from experiments.system.provenance import versions


def evaluate(evaluation: Evaluation, episodes: int) -> dict[str, Any]:
    """The content of evaluation.json (docs/policies.md), after `episodes` of every seed.

    Raises:
        UserError: the environment cannot be made, or fails.
    """
    reference, entries = evaluation.reference, []
    for policies in evaluation.policies:
        returns = policies.returns(evaluation.spec, episodes)
        entries.append({**policies.facts, **_summary(policies.seeds, returns, reference)})
    about = {
        "id": evaluation.dataset,
        "environment": evaluation.spec.id,
        "reference_scores": reference,
    }
    return {
        "dataset": about,
        "score_note": score_note(about),
        "episodes": episodes,
        "versions": versions(),
        "policies": entries,
    }


def _summary(seeds: list[int], returns: np.ndarray, reference: Reference) -> dict[str, Any]:
    """Means and intervals: over seeds or, of one seed alone, over its episodes."""
    means = returns.mean(axis=1)
    values = returns[0] if len(seeds) == 1 else means
    interval = mean_interval(values)

    def scores(of: Any) -> np.ndarray | None:
        return normalized_score(of, reference) if reference else None

    episode_scores = scores(returns)
    seed_scores: Any = [None] * len(seeds)
    if episode_scores is not None:
        seed_scores = episode_scores.mean(axis=1).tolist()
    ends = scores(interval) if interval else None
    return {
        "seeds": [
            {"seed": seed, "returns": row.tolist(), "normalized_score": score}
            for seed, row, score in zip(seeds, returns, seed_scores, strict=True)
        ],
        "interval_over": "episodes" if len(seeds) == 1 else "seeds",
        "return_mean": float(means.mean()),
        "return_ci95": interval,
        "mean": float(np.mean(seed_scores)) if reference else None,
        "ci95": None if ends is None else ends.tolist(),
    }


def table(results: dict[str, Any]) -> str:
    """evaluation.json as Markdown: a row for each learner and source."""
    policies = results["policies"]
    seeds = [str(seed["seed"]) for seed in policies[0]["seeds"]]
    over = f"95 % interval over {policies[0]['interval_over']}"
    titles = ["policy", "source", "mean return", over, "score", over]
    rows = [
        [
            policy["name"],
            policy["source"],
            _one(policy["return_mean"]),
            _interval(policy["return_ci95"]),
            _one(policy["mean"]),
            _interval(policy["ci95"]),
        ]
        for policy in policies
    ]
    numbers = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    lines = [
        f"{results['dataset']['environment']}, {numbers}, {results['episodes']} episodes each:",
        "",
        *markdown(titles, rows),
    ]
    if rows[0][3] == "":
        lines += ["", f"An interval takes at least {FEWEST} {policies[0]['interval_over']}."]
    if results["score_note"]:
        lines += ["", results["score_note"]]
    return "\n".join(lines)


def _one(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.1f} to {ends[1]:.1f}"
