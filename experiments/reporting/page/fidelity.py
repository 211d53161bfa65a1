"""What a run has measured of a source: rollouts beside held-out windows and the simulator."""

from typing import Any
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from experiments.reporting import panels
from experiments.reporting.page import plots
from experiments.reporting.page.document import facts, note, paragraph, picture, table, tag

LOWEST = 0.8  # share at which an axis begins at the latest
YARDSTICKS = (
    "one-step model: a Gaussian model rolled out under the recorded actions; repeated: the first "
    "state again"
)


def rollouts(report: dict[str, Any] | None) -> list[Element]:
    """The figures of `fidelity.rollouts` in results.json."""
    if report is None:
        return [note("Rollouts were not measured: no held-out episode contains a window.")]
    parts = [
        paragraph(
            f"Measured in the run on {report['windows']:,} windows of episodes that no model was "
            "trained on."
        )
    ]
    parts += _returns(report["returns"])
    parts += _spread(report.get("spread"))
    parts.append(
        picture(
            "Rollouts against held-out windows",
            _explained({"states": report["states"], "rewards": report["rewards"]}),
            "shares near 1 at the first steps, above both yardsticks "
            f"({YARDSTICKS}). A stochastic model of uncertain futures cannot stay at 1.",
            "shares below 0 (drawn down to -0.1), worse than the mean state; or below the repeated "
            "first state.",
        )
    )
    parts += _simulator(report["simulator"])
    parts.append(
        picture(
            "Variance of states, synthetic over recorded",
            _bars(report["variance_ratio"], "observation", "ratio"),
            "ratios near 1.",
            "ratios well below 1: rollouts too alike, which flatters their errors; far above 1: "
            "noise.",
        )
    )
    parts += _actions(report["actions"])
    return parts


def terminals(report: dict[str, Any] | None, transitions: dict[str, Any] | None) -> Element:
    """What terminal flags are compared with, and how often they are right."""
    rows = []
    compared: dict[str, Any] = {}
    if report:
        compared["windows that end, held out"] = report["terminals"]["windows"]
        compared["rollouts' states by the environment's rule"] = report["terminals"]["rule"]
    if transitions:
        simulator = transitions["simulator"]
        compared["transitions in the simulator"] = simulator and simulator["terminals"]
    for name, one in compared.items():
        counts = one or {}
        rows.append([name, *(counts.get(key) for key in ("base_rate", "precision", "recall"))])
    return table(["flags against", "terminal in truth", "precision", "recall"], rows)


def transitions(report: dict[str, Any] | None) -> list[Element]:
    """The figures of `fidelity.transitions` in results.json."""
    if report is None:
        return []
    rows: list[tuple[str, Any]] = [("action entries at bounds", report["actions_at_bounds"])]
    simulator = report["simulator"]
    if simulator:
        rows += [
            ("transitions judged in the simulator", simulator["judged"]),
            ("changes of state, share explained", simulator["changes"]["pooled"]),
            ("rewards, share explained", simulator["rewards"]),
            ("reward, mean of synthetic less simulated", simulator["reward_bias"]),
        ]
    return [tag("h3", "Transitions as learners see them"), facts(rows)]


def _returns(entries: list[dict[str, Any]] | None) -> list[Element]:
    if not entries:
        return []
    made, ((axes,),) = plots.figure(1, 1, 6.0, 4.2)
    panels.returns(axes, entries)
    plots.legend(axes)
    return [
        picture(
            "Return against target",
            made,
            "points along the gray line: a higher target gives a higher return, until the data "
            "have no better episodes. Bars are standard errors.",
            "a flat line: the target is ignored.",
        )
    ]


def _spread(ratios: dict[str, Any] | None) -> list[Element]:
    if not ratios:
        return []
    made, ((axes,),) = plots.figure(1, 1, 6.0, 3.6)
    panels.spread(axes, ratios)
    plots.legend(axes)
    return [
        picture(
            "Spread against error",
            made,
            "ratios near 1: several rollouts from one state differ as much as their mean errs.",
            "ratios well below 1: too sure of one future; well above: noise.",
        )
    ]


def _simulator(report: dict[str, Any] | None) -> list[Element]:
    if not report:
        return [
            note(
                "Not compared with the simulator: the environment cannot be set to an observation."
            )
        ]
    return [
        picture(
            "Each step against the simulator",
            _explained({"changes of state": report["changes"], "rewards": report["rewards"]}),
            "shares near 1, as those of the recorded windows (with inferred actions): the "
            "simulator, set to a synthetic state and given its action, does what the rollout says.",
            "a fall over the steps, where rollouts leave the states that physics allows.",
        )
    ]


def _actions(report: dict[str, Any] | None) -> list[Element]:
    if not report:
        return []
    return [
        picture(
            "Actions inferred between states",
            _bars(report, "action", "share explained"),
            "shares near 1, on recorded states and on synthetic ones by way of the simulator "
            "(unclipped: where no velocity is cut by the observation).",
            "a dimension near 0: its actions are guesses.",
        )
    ]


def _explained(columns: dict[str, Any]) -> Figure:
    made, (row,) = plots.figure(1, len(columns), 10.5, 3.6)
    for axes, (title, models) in zip(row, columns.items(), strict=True):
        panels.explained(axes, models)
        axes.set_ylim(bottom=min(axes.get_ylim()[0], LOWEST))
        axes.set_title(title)
    handles, labels = row[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside right upper", fontsize="small")
    return made


def _bars(models: dict[str, Any], across: str, up: str) -> Figure:
    made, ((axes,),) = plots.figure(1, 1, 10.5, 3.2)
    panels.bars(axes, panels.by_dimension(models))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.5), min(high, 3.0))
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    handles, labels = axes.get_legend_handles_labels()
    made.legend(handles, labels, loc="outside right upper", fontsize="small")
    return made
