"""Which settings of DAWM and of the learners help? Variants of a config, compared.

    python -m experiments.variants \
        --config=experiments/configs/small.py:local/hopper/medium-replay-v0 --config.learners=td3bc

Each variant changes one thing. Every learner is trained with it, and on the recorded data alone
with the same seeds, updates and recorded rows per update. What several variants share is trained
once. After each variant, all scores so far are in variants.json in the run's folder; `--variants`
selects some, which are added to those that are there. The default always comes first.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags
from ml_collections import ConfigDict

from experiments.launch import launch, parse

if TYPE_CHECKING:
    from experiments.run.context import Run
    from experiments.simulation.evaluator import Evaluator

SELECTED = flags.DEFINE_list(
    "variants", [], "Variants to compare, by name and separated by commas (default: all)."
)

DEFAULT = "default"
# Settings of a config; those of `learner` are changed in each learner that has them.
VARIANTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},  # at least the 0.9 quantile of all returns-to-go, stretched
    "critic-rows-all": {"learner.critic_rows": "all"},
    "advantage-rows-all": {"learner.advantage_rows": "all"},
    "cloning-better": {"learner.cloning_rows": "better"},
    "cloning-recorded": {"learner.cloning_rows": "recorded"},
    "ratio-0.1": {"synthetic_ratio": 0.1},
    "ratio-0.25": {"synthetic_ratio": 0.25},
    "ratio-0.75": {"synthetic_ratio": 0.75},
    "ratio-0.9": {"synthetic_ratio": 0.9},
    "own-1.0": {"dawm.target.own": 1.0},
    "own-1.1": {"dawm.target.own": 1.1},
    "own-1.2": {"dawm.target.own": 1.2},
    "own-1.3": {"dawm.target.own": 1.3},
    "conditional-quantile-0.9": {
        "dawm.target.conditional": True,
        "dawm.return_quantile.level": 0.9,
    },
    "start-preference-0": {"dawm.start_preference": 0.0},
    "start-preference-3": {"dawm.start_preference": 3.0},
    "start-preference-30": {"dawm.start_preference": 30.0},
    "half-noised-start": {"dawm.sampling.start": 0.5},
    "filter-0.1": {"dawm.filter_share": 0.1},
    "filter-0.3": {"dawm.filter_share": 0.3},
    "fall-penalty-100": {"dawm.fall_penalty": 100.0},
    "3-step-returns": {"dawm.return_steps": 3, "learner.critic_rows": "all"},
    "lambda-0.95": {"dawm.return_lambda": 0.95, "learner.critic_rows": "all"},
    "batch-1024": {"learner.batch_size": 1024},
    "critic-layer-norm": {"learner.critic_layer_norm": True},
    "critics-alone": {"learner.critic_rows": "all", "learner.policy_rows": "recorded"},
}


def compare(config: ConfigDict, workdir: Path, selected: list[str]) -> None:
    """Trains the selected variants (default: all); writes variants.json in the run's folder."""
    # Here, because the processes that record data import this module and need none of it.
    from dawm_jax.errors import require, require_choice
    from experiments import pipeline
    from experiments.reporting.scores import variants
    from experiments.run.config import build
    from experiments.store.files import write_json
    from experiments.system.disk_errors import disk_errors_explained
    from experiments.system.processes import on_first
    from experiments.system.provenance import versions

    for name in selected:
        require_choice("variant", name, VARIANTS)
    config = config.copy_and_resolve_references()
    config.sources = ("dawm",)
    configs = {
        name: changed(config, name)
        for name in VARIANTS
        if not selected or name in (DEFAULT, *selected)
    }
    for name in selected:
        learners = ", ".join(config.learners)
        require(
            configs[name] is not None,
            f"the variant '{name}' changes a setting that no learner of {learners} has: name one "
            "that has it in --config.learners",
        )
    every = {name: one for name, one in configs.items() if one}
    components = {name: build(one) for name, one in every.items()}  # before anything is trained
    path = workdir / "variants.json"
    rows = on_first(rows_of, path, config)
    with disk_errors_explained(workdir), pipeline.evaluating(config, workdir) as (run, evaluator):
        for name, one in every.items():
            print(f"== {name}", flush=True)
            this = replace(run, config=one, components=components[name])
            rows[name] = {"variant": name, "changes": VARIANTS[name], **train(this, evaluator)}
            ordered = [rows[name] for name in VARIANTS if name in rows]
            results = {"config": config.to_dict(), "versions": versions(), "rows": ordered}
            on_first(write_json, path, results)
    print(variants([results]))


def changed(config: ConfigDict, name: str) -> ConfigDict | None:
    """The config of a variant, with the learners that have its settings; None if none has."""
    from experiments.run.config import names

    config, settings = config.copy_and_resolve_references(), {}
    learners = names(config.learners)
    for setting, value in VARIANTS[name].items():
        block, _, rest = setting.partition(".")
        if block == "learner":
            learners = tuple(learner for learner in learners if rest in config.get(learner, {}))
            settings.update({f"{learner}.{rest}": value for learner in learners})
        else:
            settings[setting] = value
    config.learners = learners
    config.update_from_flattened_dict(settings)
    return config if learners else None


def rows_of(path: Path, config: ConfigDict) -> dict[str, dict[str, Any]]:
    """The rows of an earlier comparison of this config in this folder, by variant.

    Raises:
        UserError: the comparison in the folder is of another config.
    """
    from dawm_jax.errors import require

    if not path.exists():
        return {}
    earlier, this = json.loads(path.read_text()), json.loads(json.dumps(config.to_dict()))
    other = [name for name in this if this[name] != earlier["config"].get(name)]
    require(
        not other,
        f"{path} compares variants of another config, whose {' and '.join(other)} differ: name "
        "another --workdir, or delete the file",
    )
    return {row["variant"]: row for row in earlier["rows"]}


def train(run: "Run", evaluator: "Evaluator | None") -> dict[str, Any]:
    """The run's learners with DAWM's transitions, and on the recorded ones alone."""
    from experiments.reporting.results import learner_entry
    from experiments.run.config import on_all_rows
    from experiments.stages.learn import train_learner
    from experiments.stages.source import SourceResult, run_source

    source = run_source(run, "dawm")
    recorded = SourceResult("recorded", run.data_stage, {})
    pairs = []
    learner: Any
    for name, learner in run.components.learners.items():
        learners = {name: replace(learner, **on_all_rows(learner))}  # as all are recorded
        alone = replace(run, components=replace(run.components, learners=learners))
        pair = {
            "recorded": learner_entry(run, train_learner(alone, name, recorded, evaluator)),
            "synthetic": learner_entry(run, train_learner(run, name, source, evaluator)),
        }
        pairs.append(pair)
    fidelity = source.results["fidelity"]["transitions"]
    synthesis = source.results["synthesis"]
    return {"learners": pairs, "synthesis": synthesis, "fidelity": fidelity}


def main(_: list[str]) -> None:
    launch(lambda config, workdir: compare(config, workdir, SELECTED.value))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
