"""Scores of a result file as Markdown tables, with what their differences can show."""

from typing import Any

import numpy as np

from dawm_jax.evaluation.scores import FEWEST, mean_interval, smallest_effect


def reported(entry: dict[str, Any]) -> dict[str, Any]:
    """The results of the policy that a learner's entry reports, its first."""
    return next(iter(entry["policies"].values()))


def scores(results: dict[str, Any]) -> str:
    """The final policies as Markdown: yardsticks first, then a row for each learner and source."""
    config, dataset, learners = results["config"], results["dataset"], results["learners"]
    rows = [
        [
            "data, mean episode",
            "",
            rounded(dataset["return_mean"]),
            rounded(dataset["score_mean"]),
        ]
    ]
    if results.get("random_score") is not None:
        rows.insert(0, ["random actions", "", "", rounded(results["random_score"])])
    for entry in learners:
        policy = reported(entry)
        returns = [value for seed in policy["seeds"] for value in seed["returns"]]
        mean_return = float(np.mean(returns)) if returns else None
        others = list(entry["policies"].values())[1:]
        columns = [
            rounded(mean_return),
            rounded(policy["mean"]),
            spread(seed_scores(entry)),
        ]
        rows.append(
            [entry["name"], entry["source"], *columns, *(rounded(o["mean"]) for o in others)]
        )
    names = list(learners[0]["policies"])
    where = f"on {dataset['environment']}" if dataset["environment"] else "that were not evaluated"
    titles = ["learner", "source", "mean return", "score", _spread_title(config["seeds"])]
    titles += [f"score of the {name} policy" for name in names[1:]]
    lines = [
        f"The {names[0]} policies {where} after {config['updates']:,} updates on {dataset['id']}, "
        f"{config['seeds']} seeds x {config['evaluation_episodes']} episodes:",
        "",
        *markdown(titles, rows),
    ]
    left_out = [entry.get("left_out") for entry in results.get("sources", {}).values()]
    for paragraph in (source_effects(learners), *left_out, dataset.get("score_note")):
        lines += ["", paragraph] if paragraph else []
    return "\n".join(lines)


def source_effects(learners: list[dict[str, Any]]) -> str | None:
    """What a source changes: each seed's difference to the recorded data alone."""
    recorded = {e["name"]: seed_scores(e) for e in learners if e["source"] == "recorded"}
    effects, count = [], 0
    for entry in learners:
        scores, alone = seed_scores(entry), recorded.get(entry["name"])
        if entry["source"] == "recorded" or not scores or not alone or len(scores) == 1:
            continue
        count = len(scores)
        effects.append(f"{entry['name']}, {entry['source']} {difference(scores, alone)}")
    if not effects:
        return None
    return (
        f"Difference of score to the recorded data alone, seed by seed ({explained(count)}): "
        f"{'; '.join(effects)}. The seeds are the learner's and share one set of synthetic "
        "transitions; only runs with another --config.seed show how much depends on the training "
        "of the source's models."
    )


def attribution(results: dict[str, Any]) -> str:
    """The arms of `experiments.attribution`, a row each, beside recorded data."""
    config, rows = results["config"], []
    for entry in results["arms"]:
        scores = seed_scores(entry)
        if entry["arm"] == "recorded":
            alone = scores
        change = "" if entry["arm"] == "recorded" or not scores else difference(scores, alone)
        mean = float(np.mean(scores)) if scores else None
        last = list(entry["policies"].values())[1]["mean"]
        rows.append([entry["name"], entry["arm"], rounded(mean), change, rounded(last)])
    names = list(results["arms"][0]["policies"])
    titles = ["learner", "trained on", f"score of the {names[0]} policy"]
    titles += [f"difference ({explained(config['seeds'])})", f"score of the {names[1]} policy"]
    lines = [
        f"What {' '.join(config['sources'])} changes after {config['updates']:,} updates on "
        f"{config['dataset']}, {config['seeds']} seeds x {config['evaluation_episodes']} episodes:",
        "",
        *markdown(titles, rows),
    ]
    return "\n".join(lines)


def variants(runs: list[dict[str, Any]]) -> str:
    """The variants of `experiments.variants`, a row for each learner, beside recorded data."""
    rows = []
    for results in runs:
        defaults: dict[str, list[float]] = {}
        data_set = results["config"]["dataset"].removeprefix("local/")
        for row in results["rows"]:
            for pair in row["learners"]:
                alone, scores = seed_scores(pair["recorded"]), seed_scores(pair["synthetic"])
                name = pair["synthetic"]["name"]
                default = defaults.setdefault(name, scores)  # of the first row
                columns = [rounded(float(np.mean(x))) if x else "" for x in (alone, scores)]
                columns.append(difference(scores, alone) if scores and alone else "")
                changed = row["changes"] and scores and default
                columns.append(difference(scores, default) if changed else "")
                rows.append([data_set, name, row["variant"], *columns])
    config = runs[0]["config"]
    policy = next(iter(runs[0]["rows"][0]["learners"][0]["synthetic"]["policies"]))
    titles = ["data set", "learner", "variant", "recorded alone", "with synthetic"]
    titles += ["difference to recorded", "difference to default"]
    lines = [
        f"Scores of the {policy} policies after {config['updates']:,} updates, {config['seeds']} "
        f"seeds x {config['evaluation_episodes']} episodes. Differences are seed by seed "
        f"({explained(config['seeds'])}):",
        "",
        *markdown(titles, rows),
    ]
    return "\n".join(lines)


def arms(results: dict[str, Any]) -> str:
    """The data that `examples/d3rlpy_td3bc.py` trained on, a row each, compared with the first."""
    every = [[seed["score"] for seed in arm["seeds"]] for arm in results["arms"]]
    rows = []
    for arm, scores in zip(results["arms"], every, strict=True):
        columns = [
            arm["data"],
            f"{arm['transitions']:,}",
            rounded(arm["mean_score"]),
            spread(scores),
        ]
        rows.append([*columns, "" if scores is every[0] else difference(scores, every[0])])
    seeds, episodes = len(every[0]), len(results["arms"][0]["seeds"][0]["returns"])
    titles = ["trained on", "transitions", "score", _spread_title(seeds), "difference to the first"]
    lines = [
        f"d3rlpy's TD3+BC after {results['updates']:,} updates in {results['environment']}, "
        f"{seeds} seeds x {episodes} episodes. Differences are seed by seed "
        f"({explained(seeds)}):",
        "",
        *markdown(titles, rows),
    ]
    return "\n".join(lines)


def seed_scores(entry: dict[str, Any]) -> list[float]:
    """The scores of the reported policy's seeds; empty without scores."""
    scores = [seed["normalized_score"] for seed in reported(entry)["seeds"]]
    return scores if None not in scores else []


def difference(scores: list[float], others: list[float]) -> str:
    """The mean difference of seeds in pairs; see `explained`."""
    differences = np.subtract(scores, others)
    smallest = smallest_effect(differences)
    more = "" if smallest is None else f"; {smallest:.1f}"
    return f"{differences.mean():+.1f} ({spread(differences, sign='+')}{more})"


def explained(seeds: int) -> str:
    """What is in the brackets of a difference."""
    if seeds < FEWEST:
        return f"range; {seeds} seeds are too few for an interval"
    return "95 % interval; the smallest difference that four of five such experiments would show"


def _spread_title(seeds: int) -> str:
    """The title of a column of `spread`."""
    return "range over seeds" if seeds < FEWEST else "95 % interval of the mean"


def spread(values: Any, sign: str = "") -> str:
    """The interval of the mean, or the range of fewer than `FEWEST` values."""
    if len(values) == 0:
        return ""
    low, high = mean_interval(values) or (min(values), max(values))
    return f"{low:{sign}.1f} to {high:{sign}.1f}"


def rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def markdown(titles: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table; short rows are filled."""
    filled = [[*row, *[""] * (len(titles) - len(row))] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *filled)]
