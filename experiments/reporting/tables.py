"""Result files as Markdown tables."""

from typing import Any

import numpy as np

from dawm_jax.evaluation.scores import bootstrap_interval


def scores(results: dict[str, Any]) -> str:
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
    for paragraph in (source_effects(results["learners"]), dataset.get("score_note")):
        lines += ["", paragraph] if paragraph else []
    return "\n".join(lines)


def summary(runs: list[dict[str, Any]]) -> str:
    """The scores of several runs in one table, a column each: mean and 95 % interval."""
    columns: list[dict[tuple[str, str], str]] = []
    for results in runs:
        dataset = results["dataset"]
        column = {("data, mean episode", ""): f"{dataset['score_mean']:.1f}"}
        for entry in results["learners"]:
            low, high = entry["ci95"]
            interval = f"{entry['mean']:.1f} ({low:.1f} to {high:.1f})"
            column[entry["name"], entry["source"]] = interval
        columns.append(column)
    rows = dict.fromkeys(row for column in columns for row in column)
    names = [results["dataset"]["id"].removeprefix("local/") for results in runs]
    lines = [
        f"| learner | source | {' | '.join(names)} |",
        f"| --- | --- |{' --- |' * len(names)}",
    ]
    lines += [f"| {' | '.join((*row, *(c.get(row, '') for c in columns)))} |" for row in rows]
    return "\n".join(lines)


def source_effects(learners: list[dict[str, Any]]) -> str | None:
    """What synthetic transitions change: each seed's difference to the recorded data alone."""
    recorded = {
        entry["name"]: _seed_scores(entry) for entry in learners if entry["source"] == "recorded"
    }
    effects = []
    for entry in learners:
        scores, alone = _seed_scores(entry), recorded.get(entry["name"])
        if entry["source"] == "recorded" or not scores or not alone or len(scores) == 1:
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


def fidelity(runs: list[dict[str, Any]]) -> str:
    """The fidelity of DAWM's rollouts in several runs, a row each."""
    lines = [
        "| data set | parameters, updates | change of state in the simulator "
        "| the one-step yardstick's | states | rewards | variance ratio | actions (unclipped) "
        "| windows that end, precision / recall |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
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
            _ends(_changes(report, "synthetic")),
            _ends(_changes(report, "one_step_model")),
            _ends(report["states"]["synthetic"]["pooled"]),
            _ends(report["rewards"]["synthetic"]),
            _shown(report["variance_ratio"]["synthetic"]["pooled"], 2),
            f"{_shown(actions['recorded']['pooled'])} ({_shown(unclipped['pooled'])})",
            _flags(report),
        ]
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def ablation(results: dict[str, Any]) -> str:
    """The kinds of world model that `experiments.ablation` compared, a row each."""
    config = results["config"]["dawm"]["world_model"]
    lines = [
        f"World models after {config['steps']:,} updates on {results['config']['dataset']}; shares "
        f"of variance explained at the first step and at step {config['horizon'] - 1}:",
        "",
        "| what is diffused, and predicted | change of state in the simulator | states | rewards "
        "| variance ratio | windows that end, precision / recall |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        report = row["fidelity"]
        columns = [
            _ends(_changes(report, "synthetic")),
            _ends(report["states"]["synthetic"]["pooled"]),
            _ends(report["rewards"]["synthetic"]),
            _shown(report["variance_ratio"]["synthetic"]["pooled"], 2),
            _flags(report),
        ]
        lines.append(f"| {row['name']} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _changes(report: dict[str, Any], model: str) -> list[float | None]:
    """The share of a model's changes of state that the simulator confirms, at each step."""
    return report["simulator"]["changes"][model]["pooled"] if report["simulator"] else [None]


def _ends(shares: list[float | None]) -> str:
    """The first and the last of the steps' shares."""
    return f"{_shown(shares[0])} / {_shown(shares[-1])}"


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _flags(report: dict[str, Any]) -> str:
    counts = report["terminals"]["windows"]
    return " / ".join(_shown(counts[name], 2) for name in ("precision", "recall"))


def provenance(results: dict[str, Any]) -> str:
    """The commit, the versions and the machine behind a table."""
    versions = results["versions"]
    machine = f"{versions['cpu_cores']} cores, {versions['platform']}"
    if "processor" in results:  # of a benchmark
        machine += f", {results['processor']}"
    return (
        f"Commit {(versions['commit'] or 'unknown')[:12]}, jax {versions['jax']}, mujoco "
        f"{versions['mujoco']}, {versions['device']} ({machine})."
    )
