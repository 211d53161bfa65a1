"""What was learnt: scores and curves of the learners."""

from typing import Any
from xml.etree.ElementTree import Element

from experiments.reporting import figures
from experiments.reporting.page import plots
from experiments.reporting.page.document import markdown, note, picture, section, table, tag
from experiments.reporting.scores import reported, scores

VALUES = ("q_recorded", "q_synthetic")


def learnt(results: dict[str, Any]) -> Element:
    """The section on policies: their scores with intervals, and their curves."""
    parts = markdown(scores(results))
    if any(reported(entry)["curve"][-1]["returns"] for entry in results["learners"]):
        parts.append(
            picture(
                "Learning curves",
                plots.closed(figures.learning_curves(results)),
                "curves that have settled before the last update, and intervals that do not "
                "overlap where one source is said to be better.",
                "a late fall, or a mean that a single seed makes.",
            )
        )
    else:
        parts.append(
            note("The policies were not evaluated: there is no environment, or no episode.")
        )
    rows = [
        [
            entry["name"],
            entry["source"],
            *((entry.get("metrics") or {}).get(name) or None for name in VALUES),  # 0: no rows
            entry.get("updates_per_second"),
        ]
        for entry in results["learners"]
    ]
    titles = ["learner", "source", "Q on recorded rows", "Q on synthetic rows", "updates a second"]
    values = tag("details", tag("summary", "Values and speed"), table(titles, rows))
    return section("policies", "What was learnt", *parts, values)
