"""What a source synthesized: distributions, ends, distance to the recorded rows."""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from matplotlib.figure import Figure

from dawm_jax.data.normalizer import varies
from dawm_jax.evaluation.fidelity import nearest_distances
from experiments.reporting import panels
from experiments.reporting.page import fidelity, plots, statistics
from experiments.reporting.page.data import Recorded, columns, features
from experiments.reporting.page.document import facts, paragraph, picture, section, table, tag
from experiments.reporting.page.films import films
from experiments.reporting.page.sample import Sample, sample

ROWS = 50_000  # synthetic transitions, of which distributions are computed
NEIGHBORS = 100_000  # recorded rows, among which the nearest is searched
SEARCHED = 1_000  # rows whose nearest is searched
CLOSE = 0.01  # quantile of recorded distances below which a synthetic row counts as a copy
LEVELS = (0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0)  # quantiles that bound bins
ENDS = (0.0, 0.5, 1.0)  # the same of terminal states


def source(
    workdir: Path, name: str, entry: dict[str, Any], recorded: Recorded, count: int
) -> Element:
    """The section on one source.

    Args:
        entry: of the source in results.json.
        count: of films.
    """
    title = f"Source {name}"
    if entry["synthesis"] is None:
        return section(
            f"source-{name}",
            title,
            paragraph(f"{name} adds no transitions: learners see the recorded ones alone."),
        )
    drawn = sample(workdir / entry["synthesis"]["file"], recorded.dataset, ROWS)
    measured = entry["fidelity"] or {"rollouts": None, "transitions": None}
    parts = [
        _synthesis(entry["synthesis"]),
        _models(entry["models"]),
        *distributions(name, recorded, drawn),
        *ends(recorded, drawn, measured),
        *memorization(recorded, drawn, measured["transitions"]),
        *fidelity.transitions(measured["transitions"]),
        *fidelity.rollouts(measured["rollouts"]),
        *films(recorded.dataset, drawn, count),
    ]
    return section(f"source-{name}", title, *parts)


def _synthesis(facts_of: dict[str, Any]) -> Element:
    names = {
        "transitions": "transitions",
        "terminal_share": "share that ends in a terminal state",
        "reward_mean": "reward, mean",
        "transitions_per_second": "transitions a second",
        "file": "file in the run's folder",
        "commit": "generated at commit",
    }
    return facts((shown, facts_of.get(name)) for name, shown in names.items())


def _models(models: dict[str, Any]) -> Element:
    rows = [
        [name, one["parameters"], one["updates_per_second"], one.get("loss"), one["commit"]]
        for name, one in models.items()
    ]
    titles = ["model", "parameters", "updates a second", "last loss", "trained at commit"]
    return tag("details", tag("summary", "Models"), table(titles, rows))


def distributions(name: str, recorded: Recorded, drawn: Sample) -> list[Element]:
    names, true = columns(recorded.dataset, recorded.rows)
    _, synthetic = columns(recorded.dataset, drawn.transitions)
    rows, others = features(recorded.rows), features(drawn.transitions)
    grid = plots.grid_of(recorded.projection(rows))
    half, rest = (recorded.projection(rows[first::2]) for first in (0, 1))
    alone = statistics.uncovered(rest, half, grid)
    new = statistics.uncovered(recorded.projection(others), half, grid)
    return [
        picture(
            "States, actions and rewards",
            plots.marginals(names, true, synthetic),
            "the blue outline on the gray area; the number is the largest difference of the two "
            f"distribution functions, 0 for equal ones. Of {len(others):,} synthetic transitions; "
            "the outermost thousandth counts in the last bin on its side. A source that aims at "
            "higher returns differs by design where returns differ.",
            "peaks that the data do not have, and tails that are cut.",
        ),
        picture(
            "States and actions on the principal axes of the recorded ones",
            plots.projected(recorded.projection, rows, others, name),
            f"the same shape in both; {new:.2%} of the synthetic rows lie in cells that half of "
            f"the recorded rows leave empty, of the other half {alone:.2%}. The axes show "
            f"{recorded.projection.share:.0%} of the variance.",
            "synthetic rows far from any recorded one, or recorded regions that are never visited.",
            raster=True,
        ),
    ]


def ends(recorded: Recorded, drawn: Sample, measured: dict[str, Any]) -> list[Element]:
    table_of = fidelity.terminals(measured["rollouts"], measured["transitions"])
    pairs = [
        (np.asarray(rows.next_observation), np.asarray(rows.discount) == 0)
        for rows in (recorded.rows, drawn.transitions)
    ]
    feature = statistics.telling_feature(*pairs[0])
    if feature is None:
        return [
            tag("h3", "Ends"),
            paragraph("No recorded episode ends in a terminal state, or every step does."),
            table_of,
        ]
    origin = recorded.dataset.observation_origin[feature]
    true, synthetic = ((x[:, feature] + origin, flags) for x, flags in pairs)
    shown = picture(
        "Terminal flags against the state",
        _calibration(feature, true, synthetic),
        f"synthetic and recorded rates within each other's 95 % intervals, over the feature by "
        f"which recorded terminal states differ most (observation {feature}).",
        "synthetic states that live on where recorded episodes end, or end where they go on: "
        "values learnt from them are wrong there.",
    )
    return [shown, table_of]


Flagged = tuple[np.ndarray, np.ndarray]  # a feature of next states (N,), whether terminal (N,)


def terminal_rates(samples: list[Flagged]) -> tuple[np.ndarray, list[tuple[Any, Any]]]:
    """The edges of bins, and for each sample its terminal rows and all rows in each of them.

    Edges are quantiles of the first sample, of terminal rows and of the others.
    """
    values, flags = samples[0]
    others, ends = np.quantile(values[~flags], LEVELS), np.quantile(values[flags], ENDS)
    edges = np.unique(np.concatenate([others, ends]))
    counts = []
    for one, terminal in samples:
        inside = np.clip(one, edges[0], edges[-1])
        counts.append((np.histogram(inside[terminal], edges)[0], np.histogram(inside, edges)[0]))
    return edges, counts


def _calibration(feature: int, recorded: Flagged, synthetic: Flagged) -> Figure:
    edges, counts = terminal_rates([recorded, synthetic])
    made, ((axes,),) = plots.figure(1, 1, 10.5, 3.6)
    styles = (("recorded", panels.BLACK, "o", -0.1), ("synthetic", panels.BLUE, "s", 0.1))
    for (ends, rows), (name, color, mark, aside) in zip(counts, styles, strict=True):
        some = np.flatnonzero(rows)
        rate = ends[some] / rows[some]
        low, high = (bound[some] for bound in statistics.interval(ends, rows))
        errors = np.maximum([rate - low, high - rate], 0.0)
        axes.errorbar(some + 0.5 + aside, rate, errors, fmt=mark, ms=5, color=color, label=name)
    axes.set_xticks(range(len(edges)), [f"{edge:.4g}" for edge in edges], fontsize="small")
    axes.grid(axis="x", alpha=0.4)
    axes.set_xlabel(f"observation {feature} of the next state, in bins between quantiles")
    axes.set_ylabel("share that is terminal")
    axes.set_ylim(-0.05, 1.05)
    plots.legend(axes)
    return made


def memorization(
    recorded: Recorded, drawn: Sample, measured: dict[str, Any] | None
) -> list[Element]:
    """Distances to the nearest recorded row, beside those among recorded rows."""
    rng = np.random.default_rng(0)
    rows = features(recorded.rows)
    if len(rows) < 2 or not varies(rows).any():
        return [paragraph("Recorded rows have no distances: there is one, or all are equal.")]
    if len(rows) > NEIGHBORS:
        rows = rows[rng.choice(len(rows), NEIGHBORS, replace=False)]
    others = rows[rng.choice(len(rows), min(SEARCHED, len(rows)), replace=False)]
    later = drawn.step > 0
    synthetic = features(drawn.transitions)[later if later.any() else slice(None)]
    synthetic = synthetic[rng.choice(len(synthetic), min(SEARCHED, len(synthetic)), replace=False)]
    among = nearest_distances(others, rows, exclude_itself=True)
    found = nearest_distances(synthetic, rows)
    close = float(np.mean(found < np.quantile(among, CLOSE)))
    left_out = ""
    if later.any():
        left_out = ", without the first of each rollout, which starts in a recorded state,"
    text = (
        f"{close:.1%} of {len(found):,} synthetic rows{left_out} are nearer to a recorded row than "
        f"{1 - CLOSE:.0%} of the recorded rows are to each other; {CLOSE:.0%} would be by chance."
    )
    rows_of = [
        [name, (measured or {}).get("nearest_recorded", {}).get(name), float(np.median(values))]
        for name, values in (("synthetic", found), ("recorded", among))
    ]
    return [
        picture(
            "Distance to the nearest recorded row: the check for memorization",
            _distances(among, found),
            "two similar humps: new rows, about as far from the data as data are from each other "
            "(state and action, each feature scaled to unit variance).",
            "synthetic rows far to the left, copies of the data; or far to the right, unlike any.",
        ),
        paragraph(text),
        table(["rows", "median measured in the run, all rows", "median here"], rows_of),
    ]


def _distances(among: np.ndarray, found: np.ndarray) -> Figure:
    least = max(float(np.quantile(among, 0.001)) / 10.0, 1e-6)
    most = max(float(among.max()), float(found.max()), 2.0 * least)
    bounds = np.geomspace(least, most, 50)
    made, ((axes,),) = plots.figure(1, 1, 7.5, 3.4)
    axes.stairs(
        statistics.shares(among, bounds),
        bounds,
        fill=True,
        color=plots.SHADE,
        label="recorded to recorded",
    )
    axes.stairs(
        statistics.shares(found, bounds),
        bounds,
        color=panels.BLUE,
        lw=1.6,
        label="synthetic to recorded",
    )
    axes.set_xscale("log")
    axes.set_xlabel("distance")
    axes.set_ylabel("share of the rows")
    plots.legend(axes)
    return made
