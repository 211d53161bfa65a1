"""The stages of one source: its models, its transitions, their fidelity."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.data.windows import transitions_from
from dawm_jax.errors import require
from dawm_jax.sources import RolloutSource
from dawm_jax.types import Transition, Window
from experiments.fidelity.judge import Rollouts
from experiments.run.context import Run
from experiments.stages.generate import generate
from experiments.stages.measure import measure_rollouts, measure_transitions
from experiments.stages.models import states_of, summary, train_models
from experiments.store.stage import Stage, identity


@dataclass(frozen=True)
class SourceResult:
    """What a source adds to the recorded transitions, and its entry in results.json."""

    name: str
    stage: Stage
    results: dict[str, Any]
    synthetic: Transition | StoredTransitions | None = None
    windows: tuple[Window, Rollouts] | None = None  # held-out windows, and rollouts beside them
    sums_rewards: bool = False  # whether a transition sums the rewards of several steps


def run_source(run: Run, name: str) -> SourceResult:
    """Trains the models of the source `name`, generates its transitions, and measures them."""
    source, settings = run.components.sources[name], run.components.synthesis
    trained = train_models(run, source)
    results: dict[str, Any] = {
        "models": {model: summary(one) for model, one in trained.items()},
        "synthesis": None,
        "fidelity": None,
    }
    if source.units(settings.transitions) == 0:
        return SourceResult(name, run.data_stage, results)
    rollouts = windows = None
    if isinstance(source, RolloutSource):
        rollouts, windows = measure_rollouts(run, name, source, trained)
    parents = (run.data_stage, *(model.stage for model in trained.values()))
    stage = Stage(
        f"synthesis-{name}", [identity(source), settings.transitions, run.config.seed], parents
    )
    synthetic, record = generate(run, stage, source, states_of(trained))
    results["synthesis"] = record
    results["fidelity"] = {
        "rollouts": rollouts,
        "transitions": measure_transitions(run, name, stage, synthetic),
    }
    sums_rewards = getattr(source, "sums_rewards", False)
    return SourceResult(name, stage, results, synthetic, windows, sums_rewards)


def near_enough(run: Run, sources: list[SourceResult]) -> list[SourceResult]:
    """The sources that learners train on; the results of each other one say why it is left out.

    Left out is a source whose transitions are more than `max_distance` times as far from the
    recorded ones as these are from each other, by the medians of `nearest_recorded`: such data have
    harmed policies more often than not (docs/findings.md).

    Raises:
        UserError: none is left.
    """
    near = []
    for source in sources:
        source.results["left_out"] = _too_far(source, run.config.max_distance)
        if source.results["left_out"]:
            print(source.results["left_out"], flush=True)
        else:
            near.append(source)
    names = ", ".join(source.name for source in sources)
    require(
        bool(near),
        f"no source of {names} is left to train on: name 'recorded', too, in --config.sources, or "
        "raise --config.max_distance. What is trained is found again",
    )
    return near


def _too_far(source: SourceResult, limit: float | None) -> str | None:
    """Why a source is left out, if it is."""
    if limit is None or source.results["fidelity"] is None:
        return None
    nearest = source.results["fidelity"]["transitions"]["nearest_recorded"]
    if nearest["synthetic"] <= limit * nearest["recorded"]:
        return None
    return (
        f"No learner trains on the transitions of {source.name}: their median distance to the "
        f"recorded ones is {nearest['synthetic']:.2f}, that of each recorded one to the nearest "
        f"other {nearest['recorded']:.2f}, and max_distance allows {limit:g} times as much. Train "
        "its models longer, or raise --config.max_distance to see what the transitions change."
    )


def recorded_starts(run: Run, name: str, source: RolloutSource) -> SourceResult:
    """The recorded transitions that the rollouts of the source `name` start from, as often."""
    inputs = source.inputs(run.dataset)
    stage = Stage(f"starts-{name}", [identity(source)], (run.data_stage,))
    starts = transitions_from(run.dataset.episodes, inputs.rows, inputs.discount)
    marked = starts.replace(recorded=jnp.zeros(len(inputs.rows), bool))
    return SourceResult(stage.name, stage, {}, marked)
