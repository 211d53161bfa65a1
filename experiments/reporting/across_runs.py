"""What sources change in several runs."""

from typing import Any

import numpy as np

from dawm_jax.evaluation.scores import (
    FEWEST,
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    stratified_interval,
)
from experiments.reporting.scores import difference, explained, markdown, rounded, seed_scores

LEFT_OUT = "left out"


def effects(runs: list[dict[str, Any]]) -> str:
    """A row for each run and learner, and how many differences are above and below 0.

    Of a comparison of variants, the default's.
    """
    rows, above, below = [], 0, 0
    for results in runs:
        data_set, every = results["config"]["dataset"].removeprefix("local/"), _scores(results)
        for (name, source), scores in every.items():
            alone = every.get((name, "recorded"))
            if source == "recorded" or not scores or not alone:
                continue
            low, high = mean_interval(np.subtract(scores, alone)) or (0.0, 0.0)
            above, below = above + (low > 0.0), below + (high < 0.0)
            before, after = (rounded(float(np.mean(x))) for x in (alone, scores))
            change = ["", LEFT_OUT] if scores is alone else [after, difference(scores, alone)]
            rows.append([data_set, name, source, before, *change])
    seeds = min(results["config"]["seeds"] for results in runs)
    titles = ["data set", "learner", "source", "recorded alone", "with the source"]
    lines = markdown([*titles, f"difference ({explained(seeds)})"], rows)
    counts = f"Differences above 0 by their interval: {above} of {len(rows)}; below 0: {below}."
    without = "Data left out change nothing." if any(LEFT_OUT in row for row in rows) else None
    paragraph = " ".join(filter(None, (counts, without, aggregates(runs))))
    return "\n".join([*lines, "", paragraph])


def aggregates(runs: list[dict[str, Any]]) -> str | None:
    """What sources change over several data sets; None for one, or too few seeds for intervals."""
    every = [_scores(results) for results in runs]
    shown = []
    for name, source in every[0]:
        pairs = [(one.get((name, source), []), one.get((name, "recorded"), [])) for one in every]
        if source == "recorded" or any(len(x) < FEWEST or len(y) != len(x) for x, y in pairs):
            continue
        differences = [np.subtract(scores, recorded) for scores, recorded in pairs]
        middle, (low, high) = (
            interquartile_mean(np.concatenate(differences)),
            stratified_interval(differences),
        )
        better = np.mean([probability_of_improvement(*pair) for pair in pairs])
        shown.append(f"{name}, {source} {middle:+.1f} ({low:+.1f} to {high:+.1f}; {better:.2f})")
    if not shown or len(runs) == 1:
        return None
    return (
        f"Over {len(runs)} data sets, difference of score to the recorded data (interquartile "
        "mean; 95 % bootstrap interval, stratified by data set; probability that a seed with the "
        f"source is better than one without): {'; '.join(shown)}."
    )


def _scores(results: dict[str, Any]) -> dict[tuple[str, str], list[float]]:
    """The seeds' scores by learner and source; on a source left out, those on recorded data."""
    if "rows" in results:
        entries = [entry for pair in results["rows"][0]["learners"] for entry in pair.values()]
    else:
        entries = results["learners"]
    found = {(entry["name"], entry["source"]): seed_scores(entry) for entry in entries}
    for source, entry in results.get("sources", {}).items():
        if entry.get("left_out"):
            found |= {(n, source): scores for (n, s), scores in found.items() if s == "recorded"}
    return found
