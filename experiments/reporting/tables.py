"""Fidelity in result files as Markdown tables, and where a table comes from."""

from typing import Any

from dawm_jax.data.references import EXPERT_RETURNS, robot_of


def fidelity(runs: list[dict[str, Any]]) -> str:
    """The fidelity of DAWM's rollouts in several runs, a row each."""
    lines = [
        "| data set | parameters, updates | change of state in the simulator "
        "| the one-step yardstick's | states | rewards | variance ratio | spread over error "
        "| actions (unclipped) | windows that end, precision / recall |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for results in runs:
        dawm = results["sources"]["dawm"]
        size = dawm["models"]["world_model"]["parameters"] / 1e6
        report = dawm["fidelity"]["rollouts"]
        actions = report["actions"]
        unclipped = actions["unclipped"] or {"pooled": None}
        columns = [
            results["dataset"]["id"],
            f"{size:.1f} million, {results['config']['dawm']['world_model']['steps']:,}",
            _first_and_last(_changes(report, "synthetic")),
            _first_and_last(_changes(report, "one_step_model")),
            _first_and_last(report["states"]["synthetic"]["pooled"]),
            _first_and_last(report["rewards"]["synthetic"]),
            _shown(report["variance_ratio"]["synthetic"]["pooled"], 2),
            _spread(report),
            f"{_shown(actions['recorded']['pooled'])} ({_shown(unclipped['pooled'])})",
            _flags(report),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def ends(runs: list[dict[str, Any]]) -> str:
    """The ends of DAWM's transitions against the simulator's, in several runs, a row each."""
    lines = [
        "| data set | transitions judged | ends in the simulator | precision | recall |",
        "| --- | --- | --- | --- | --- |",
    ]
    for results in runs:
        report = results["sources"]["dawm"]["fidelity"]["transitions"]["simulator"]
        found = report["terminals"]
        columns = [
            results["dataset"]["id"],
            f"{report['judged']:,}",
            f"{round(found['base_rate'] * report['judged']):,}",
            _shown(found["precision"]),
            _shown(found["recall"]),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def references(results: dict[str, Any]) -> str:
    """The returns that score 0 and 100 on Minari's mujoco data sets, a row for each robot."""
    lines = [
        f"| environment | random actions: mean of {results['episodes']} episodes, standard error "
        "| steps an episode | expert |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in results["environments"].items():
        expert = EXPERT_RETURNS.get(robot_of(name))
        shown = f"[{expert.value:.2f}]({expert.source})" if expert else "none published"
        random = f"{row['return_mean']:.2f} +- {row['standard_error']:.2f}"
        lines.append(f"| {name} | {random} | {row['length_mean']:.0f} | {shown} |")
    return "\n".join(lines)


def ablation(results: dict[str, Any]) -> str:
    """The kinds of world model that `experiments.ablation` compared, a row each."""
    config = results["config"]["dawm"]["world_model"]
    lines = [
        f"World models after {config['steps']:,} updates on {results['config']['dataset']}; shares "
        f"of variance explained at the first step and at step {config['horizon'] - 1}:",
        "",
        "| what is diffused and predicted, how it is sampled | temperature "
        "| spread over error, least to most | change of state in the simulator | states | rewards "
        "| transitions a second | windows that end, precision / recall |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        report = row["fidelity"]
        ratios = [ratio for ratio in report["spread"]["states"]["pooled"] if ratio is not None]
        columns = [
            f"{row['temperature']:g}",
            f"{_shown(min(ratios), 2)} to {_shown(max(ratios), 2)}",
            _first_and_last(_changes(report, "synthetic")),
            _first_and_last(report["states"]["synthetic"]["pooled"]),
            _first_and_last(report["rewards"]["synthetic"]),
            f"{row['transitions_per_second']:,.0f}",
            _flags(report),
        ]
        lines.append(f"| {row['name']} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _changes(report: dict[str, Any], model: str) -> list[float | None]:
    """The share of a model's changes of state that the simulator confirms, at each step."""
    return report["simulator"]["changes"][model]["pooled"] if report["simulator"] else [None]


def _spread(report: dict[str, Any]) -> str:
    """The spread of rollouts from one state over their error; older files lack it."""
    return _first_and_last(
        report["spread"]["states"]["pooled"] if report.get("spread") else [None], 2
    )


def _first_and_last(shares: list[float | None], digits: int = 3) -> str:
    """The first and the last of the steps' shares."""
    return f"{_shown(shares[0], digits)} / {_shown(shares[-1], digits)}"


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _flags(report: dict[str, Any]) -> str:
    counts = report["terminals"]["windows"]
    return " / ".join(_shown(counts[name], 2) for name in ("precision", "recall"))


def round_trip(results: dict[str, Any]) -> str:
    """The steps of `examples/round_trip.py`, a row each."""
    lines = ["| step | seconds | megabytes written |", "| --- | --- | --- |"]
    for row in results["rows"]:
        lines.append(f"| {row['step']} | {row['seconds']:.0f} | {row['megabytes']:.0f} |")
    lines.append(f"| together | {sum(row['seconds'] for row in results['rows']):.0f} | |")
    return "\n".join(lines)


def provenance(results: dict[str, Any]) -> str:
    """The commit, the versions and the machine behind a table."""
    versions = results["versions"]
    if "d3rlpy" in versions:  # of another library, in its own environment
        return f"{', '.join(f'{name} {version}' for name, version in versions.items())}."
    machine = f"{versions['cpu_cores']} cores, {versions['platform']}"
    if "processor" in results:  # of a benchmark
        machine += f", {results['processor']}"
    return (
        f"Commit {(versions['commit'] or 'unknown')[:12]}, jax {versions['jax']}, mujoco "
        f"{versions['mujoco']}, {versions['device']} ({machine})."
    )
