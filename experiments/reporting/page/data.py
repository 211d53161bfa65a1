"""What the data are: episodes, returns, ends, coverage of states and actions."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from dawm_jax.data.windows import to_transitions
from dawm_jax.evaluation.scores import normalized_score
from dawm_jax.types import Dataset, Transition
from experiments.reporting import panels
from experiments.reporting.page import document, plots, statistics
from experiments.reporting.page.document import facts, picture, section
from experiments.reporting.page.statistics import Projection

ROWS = 200_000  # recorded rows at most, drawn at random, from which distributions are computed
EDGE = 0.999  # a scaled action beyond this is at a bound
CELLS = 20  # of equal width between the bounds of an action


@dataclass(frozen=True)
class Recorded:
    """A data set with the rows that pictures show, on the host."""

    dataset: Dataset

    @cached_property
    def rows(self) -> Transition:
        """All recorded steps, or `ROWS` of them."""
        every = to_transitions(self.dataset)
        index = self._chosen
        return Transition(
            **{name: np.asarray(values)[index] for name, values in vars(every).items()}
        )

    @cached_property
    def to_go(self) -> np.ndarray:
        """The return-to-go of `rows`."""
        acted = np.asarray(self.dataset.episodes.steps_left) > 0
        return np.asarray(self.dataset.episodes.return_to_go)[acted][self._chosen]

    @cached_property
    def projection(self) -> Projection:
        """The principal axes of states and actions."""
        return Projection.of(features(self.rows))

    @cached_property
    def _chosen(self) -> Any:
        count = self.dataset.transitions
        if count <= ROWS:
            return slice(None)
        return np.sort(np.random.default_rng(0).choice(count, ROWS, replace=False))


def features(rows: Transition) -> np.ndarray:
    """States and actions side by side (N, observation_dim + action_dim)."""
    return np.hstack([rows.observation, rows.action])


def columns(dataset: Dataset, rows: Transition) -> tuple[list[str], np.ndarray]:
    """States in the data set's units, actions in [-1, 1] and rewards, with their names."""
    states = dataset.unshift_observation(np.asarray(rows.observation))
    names = [f"observation {d}" for d in range(states.shape[1])]
    names += [f"action {d}" for d in range(rows.action.shape[1])]
    return [*names, "reward"], np.hstack([states, rows.action, rows.reward[:, None]])


def data(recorded: Recorded, with_marginals: bool) -> Element:
    """The section on the data set.

    Args:
        with_marginals: whether to show the distributions that a source's section shows, too.
    """
    dataset = recorded.dataset
    parts = [
        overview(dataset),
        picture(
            "Episodes",
            _episodes(dataset),
            "enough episodes of the quality that a policy is to reach, and ends that the task "
            "explains.",
            "a few lengths or returns that repeat exactly, episodes cut where the task goes on but "
            "marked as terminal, or high returns in a handful of episodes only.",
        ),
        picture(
            "Coverage of states and actions",
            plots.covered(recorded.projection, features(recorded.rows), recorded.to_go),
            f"where the data are dense and where they are good; both axes together show "
            f"{recorded.projection.share:.0%} of the variance of states and actions, which vary in "
            f"{recorded.projection.dimension:.1f} directions (participation ratio) of "
            f"{len(recorded.projection.mean)}.",
            "islands without a connection, or high return-to-go only where there are few rows: "
            "what is learnt there rests on little.",
            raster=True,
        ),
        ranges(recorded),
    ]
    if with_marginals:
        parts.append(
            picture(
                "States, actions and rewards",
                plots.marginals(*columns(dataset, recorded.rows)),
                "spread without gaps; the outermost thousandth counts in the last bin on its side.",
                "a feature that never changes, a spike that a sensor's limit makes, actions at "
                "their bounds only.",
            )
        )
    return section("data", "What the data are", *parts)


def overview(dataset: Dataset) -> Element:
    """The figures of a data set in a table."""
    returns, lengths, environment = dataset.returns, dataset.lengths, dataset.environment
    evaluation = dataset.evaluation_environment
    rows: list[tuple[str, Any]] = [
        ("data set", dataset.id),
        ("episodes", len(lengths)),
        ("transitions", dataset.transitions),
        ("observation, action", f"{len(dataset.observation_origin)}, {dataset.action_dim} numbers"),
        ("ends in a terminal state", ended(dataset)),
        ("length: least, median, greatest", _three(lengths)),
        ("return: least, median, greatest", _three(returns)),
        ("return, mean", float(returns.mean())),
    ]
    if dataset.reference_scores:
        scores = normalized_score(returns, dataset.reference_scores)
        rows.append(("score: least, median, greatest", _three(scores)))
        rows.append(("score, mean", float(scores.mean())))
    rows.append(("recorded in", environment.id if environment else None))
    if evaluation != environment:
        rows.append(("policies are scored in", evaluation.id if evaluation else None))
    rows.append(("discount, return scale", f"{dataset.discount:g}, {dataset.return_scale:g}"))
    return facts(rows)


def ended(dataset: Dataset) -> str:
    """How many episodes end in a terminal state."""
    count, every = int(dataset.terminated.sum()), len(dataset.terminated)
    return f"{count:,} of {every:,} episodes ({count / every:.1%}); the others are truncated"


def _three(values: np.ndarray) -> str:
    return ", ".join(document.shown(float(x)) for x in np.quantile(values, [0.0, 0.5, 1.0]))


def _episodes(dataset: Dataset) -> Any:
    made, (row,) = plots.figure(1, 3, 10.5, 3.2)
    ends = (
        ("terminal", dataset.terminated, panels.RED),
        ("truncated", ~dataset.terminated, panels.SKY),
    )
    for axes, values, name in (
        (row[0], dataset.returns, "return"),
        (row[1], dataset.lengths, "steps"),
    ):
        bounds = statistics.edges(values, bins=40, inner=(0.0, 1.0))
        groups = [values[which] for _, which, _ in ends]
        axes.hist(
            groups, bounds, stacked=True, color=[c for *_, c in ends], label=[n for n, *_ in ends]
        )
        axes.set_xlabel(f"{name} of an episode")
        axes.set_ylabel("episodes")
        plots.legend(axes)
    for name, which, color in ends:
        at = np.flatnonzero(which)
        row[2].plot(
            at,
            dataset.returns[at],
            "." if name == "terminal" else "x",
            ms=4,
            color=color,
            label=name,
            rasterized=len(dataset.returns) > 3_000,
        )
    row[2].set_xlabel("episode, in the order of the data")
    row[2].set_ylabel("return")
    return made


def ranges(recorded: Recorded) -> Element:
    """The range of each state and action."""
    names, values = columns(recorded.dataset, recorded.rows)
    quantiles = np.quantile(values, [0.0, 0.01, 0.5, 0.99, 1.0], axis=0)
    deviation = values.std(axis=0, dtype=np.float64)
    action = np.asarray(recorded.rows.action)
    first = len(names) - 1 - action.shape[1]
    rows: list[list[Any]] = [
        [name, *map(float, quantiles[:, d]), float(deviation[d]), None, None]
        for d, name in enumerate(names)
    ]
    for d in range(action.shape[1]):
        rows[first + d][-2:] = [at_bounds(action[:, d]), occupied(action[:, d])]
    titles = [
        "",
        "least",
        "1 %",
        "median",
        "99 %",
        "greatest",
        "deviation",
        "at bounds",
        "range used",
    ]
    about = document.paragraph(
        f"Actions are scaled to [-1, 1]. At bounds: the share beyond {EDGE} in size. Range used: "
        f"the share of {CELLS} equal cells between the bounds that hold a thousandth of the rows "
        "or more. Bad: an action with a small range used, as no data tell what else would do."
    )
    return document.tag(
        "details",
        document.tag("summary", "Range of each state and action"),
        about,
        document.table(titles, rows),
    )


def at_bounds(action: np.ndarray) -> float:
    """The share of scaled actions (N,) at a bound."""
    return float(np.mean(np.abs(action) > EDGE))


def occupied(action: np.ndarray) -> float:
    """The share of equal cells of [-1, 1] that hold a thousandth of the actions (N,) or more."""
    shares = np.histogram(np.clip(action, -1.0, 1.0), CELLS, (-1.0, 1.0))[0] / len(action)
    return float(np.mean(shares >= 1e-3))
