"""Takes the effect of a source apart: behavior, dynamics, ends, dilution, or choice of starts?

    python -m experiments.attribution --source=dawm \
        --config=experiments/configs/small.py:local/hopper/medium-replay-v0 --config.learners=td3bc

Each learner is trained in several arms, with the same seeds, initial networks and number of
recorded rows per update; its critics and its policy on all rows, unless the arm says otherwise.
Writes the scores of every arm and seed to attribution.json in the run's folder, and prints their
differences.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict

from experiments.launch import launch, parse

SOURCE = flags.DEFINE_string("source", "dawm", "The source whose effect is taken apart.")


@dataclass(frozen=True)
class Arm:
    """One way to train: on which transitions, and what of the learner's settings is changed."""

    name: str
    data: str  # 'recorded' (nothing), 'synthetic', 'simulated' or 'starts': what is added
    changes: dict[str, Any] = field(default_factory=dict)


CRITICS_ALONE = {"critic_rows": "all", "policy_rows": "recorded"}
POLICY_ALONE = {"critic_rows": "recorded", "policy_rows": "all"}
CLONED = {**POLICY_ALONE, "advantage_rows": "recorded"}
ARMS = (
    Arm("recorded", "recorded"),
    Arm("+ synthetic", "synthetic"),
    Arm("+ synthetic, outcomes of the simulator", "simulated"),
    Arm("+ synthetic, for the critics alone", "synthetic", CRITICS_ALONE),
    Arm("+ synthetic, for the policy alone", "synthetic", POLICY_ALONE),
    Arm("+ synthetic, for the policy alone, without weights", "synthetic", CLONED),
    Arm("+ the recorded starts", "starts"),
    Arm("+ the recorded starts, for the policy alone", "starts", POLICY_ALONE),
)


def attribute(config: ConfigDict, workdir: Path, source_name: str) -> None:
    """Trains every arm of every learner, and writes attribution.json in the run's folder."""
    # Here, because the processes that record data import this module and need none of it.
    from dawm_jax.errors import require
    from dawm_jax.sources import RolloutSource
    from experiments import pipeline
    from experiments.reporting.results import learner_entry
    from experiments.reporting.scores import attribution
    from experiments.run.config import on_all_rows
    from experiments.stages.learn import train_learner
    from experiments.stages.simulated import simulated, whole_simulator
    from experiments.stages.source import SourceResult, recorded_starts, run_source
    from experiments.store.files import write_json
    from experiments.system.disk_errors import disk_errors_explained
    from experiments.system.processes import on_first
    from experiments.system.provenance import versions

    config = config.copy_and_resolve_references()
    config.sources = (source_name,)
    with disk_errors_explained(workdir), pipeline.evaluating(config, workdir) as (run, evaluator):
        simulator = whole_simulator(run.dataset)  # before anything is trained
        settings = run.components.sources[source_name]
        require(
            not getattr(settings, "sums_rewards", False),
            f"transitions of '{source_name}' sum several rewards, and the simulator's outcomes are "
            f"of single steps: set {source_name}.return_steps to 1 and unset return_lambda",
        )
        source = run_source(run, source_name)
        data = {
            "recorded": SourceResult("recorded", run.data_stage, {}),
            "synthetic": source,
            "simulated": simulated(run, source, simulator),
        }
        if isinstance(settings, RolloutSource):
            data["starts"] = recorded_starts(run, source_name, settings)
        entries = []
        learner: Any
        for name, learner in run.components.learners.items():
            for arm in ARMS:
                if not all(hasattr(learner, setting) for setting in arm.changes):
                    continue  # behavior cloning has no critics
                if arm.data not in data:
                    continue  # only rollouts have starts
                changes = {**on_all_rows(learner), **arm.changes}
                learners = {name: replace(learner, **changes)}
                this = replace(run, components=replace(run.components, learners=learners))
                trained = train_learner(this, name, data[arm.data], evaluator)
                entries.append({"arm": arm.name, **learner_entry(this, trained)})
    results = {"config": config.to_dict(), "versions": versions(), "arms": entries}
    on_first(write_json, workdir / "attribution.json", results)
    print(attribution(results))


def main(_: list[str]) -> None:
    launch(lambda config, workdir: attribute(config, workdir, SOURCE.value))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
