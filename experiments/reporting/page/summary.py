"""The figures of a run that say most, at a glance."""

from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from experiments.reporting.page.document import paragraph, section, table
from experiments.reporting.scores import seed_scores

MEANING = (
    "Change of state: the share of the simulator's change that each synthetic step explains; 1 is "
    "perfect. Spread over error: 1 for rollouts as different as the future is uncertain. Distance: "
    "median distance of a synthetic row to the nearest recorded one over that among recorded "
    "rows; far below 1 means copies. Ends: of held-out windows that end, precision and recall. "
    "Score: mean over seeds, 0 for random actions, 100 for an expert."
)


def summary(results: dict[str, Any]) -> Element:
    """A row for each source."""
    learners = list(dict.fromkeys(entry["name"] for entry in results["learners"]))
    titles = ["source", "transitions", "change of state, first and last step", "spread over error"]
    titles += ["distance", "ends", *(f"score of {name}" for name in learners)]
    rows = []
    for name, entry in results["sources"].items():
        scores = {
            one["name"]: float(np.mean(values))
            for one in results["learners"]
            if one["source"] == name and (values := seed_scores(one))
        }
        means = [f"{scores[learner]:.1f}" if learner in scores else None for learner in learners]
        rows.append([name, *figures(entry), *means])
    return section("summary", "At a glance", table(titles, rows), paragraph(MEANING))


def figures(entry: dict[str, Any]) -> list[Any]:
    """The figures of a source in results.json, None for each that was not measured."""
    synthesis, fidelity = entry["synthesis"] or {}, entry["fidelity"] or {}
    rollouts, transitions = fidelity.get("rollouts") or {}, fidelity.get("transitions") or {}
    simulator, spread = rollouts.get("simulator"), rollouts.get("spread")
    nearest, terminals = transitions.get("nearest_recorded"), rollouts.get("terminals")
    changes = simulator["changes"]["synthetic"]["pooled"] if simulator else [None, None]
    ratio = spread["states"]["pooled"][-1] if spread else None
    ends = terminals["windows"] if terminals else {"precision": None, "recall": None}
    return [
        synthesis.get("transitions"),
        _pair(changes[0], changes[-1]),
        None if ratio is None else round(ratio, 2),
        round(nearest["synthetic"] / nearest["recorded"], 2) if nearest else None,
        _pair(ends["precision"], ends["recall"]),
    ]


def _pair(first: float | None, second: float | None) -> str | None:
    if first is None and second is None:
        return None
    return ", ".join("-" if value is None else f"{value:.2f}" for value in (first, second))
