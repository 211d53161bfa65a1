"""The stages that measure a source: its rollouts and its transitions."""

import json
from functools import partial
from typing import Any

import numpy as np

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.data.windows import to_transitions
from dawm_jax.evaluation.fidelity import nearest_distances
from dawm_jax.sources import RolloutSource
from dawm_jax.sources.generate import default_chunk
from dawm_jax.types import Transition, Window
from experiments.fidelity import held_out, judge
from experiments.fidelity.description import describe
from experiments.fidelity.judge import Rollouts
from experiments.fidelity.returns import QUANTILES
from experiments.run.context import Run
from experiments.simulation.simulator import make_simulator
from experiments.stages.models import states_of, train_model
from experiments.stages.train import Trained
from experiments.store import files
from experiments.store.stage import Stage, StageFiles, identity
from experiments.store.transitions import rows_on_host
from experiments.system.machine import enough_memory
from experiments.system.processes import on_first
from experiments.system.tracing import trace

NEIGHBORS = 100_000  # recorded transitions at most, among which the nearest is searched


@enough_memory("fidelity.windows or fidelity.episodes")
def measure_rollouts(
    run: Run, name: str, source: RolloutSource, trained: dict[str, Trained]
) -> tuple[dict[str, Any] | None, tuple[Window, Rollouts] | None]:
    """A source's rollouts on held-out episodes, beside yardsticks, and the windows compared.

    The figures are those of `held_out.measure`, stored as JSON; None where no held-out episode
    contains a window.
    """
    windows = held_out.held_out_windows(run, source)
    if windows is None:
        print(f"{name} is not measured: no held-out episode contains a window", flush=True)
        return None, None
    yardstick = run.components.fidelity.one_step_model
    data = TransitionSet(to_transitions(run.splits[0]))
    one_step = train_model(run, "one_step_model", yardstick, data)
    states = states_of(trained)
    parents = [model.stage for model in (*trained.values(), one_step)]
    settings = [identity(source), identity(run.components.fidelity), QUANTILES]
    stage = Stage(f"fidelity-{name}", settings, (run.data_stage, *parents))
    with stage.folder(run.workdir) as folder:
        chunk = run.components.synthesis.chunk or default_chunk()
        if run.profile:
            count = min(run.components.fidelity.windows, len(windows.starts))
            few = held_out.windows_per_call(count, chunk)
            again = partial(held_out.compare, run, source, states, windows, chunk, few)
            trace(run.workdir, stage.name, f"one call of {few} windows", again)
        compared = held_out.compare(run, source, states, windows, chunk)
        report = _stored(
            folder,
            partial(held_out.measure, run, source, states, one_step.state, windows, *compared),
        )
    print(f"{name}, {describe(report)}", flush=True)
    return report, compared


def measure_transitions(
    run: Run, name: str, parent: Stage, synthetic: Transition | StoredTransitions
) -> dict[str, Any]:
    """A sample of a source's transitions, as learners see them; simulator figures may be None.

    The simulator judges single steps, not transitions that sum several rewards.
    """
    several = getattr(run.components.sources[name], "sums_rewards", False)
    count = run.components.fidelity.transitions
    stage = Stage(f"transitions-{name}", count, (parent,))

    def judged() -> dict[str, Any]:
        rows = np.random.default_rng(0).integers(0, len(synthetic.reward), count)
        sample = rows_on_host(synthetic, rows)
        simulator = None if several else make_simulator(run.dataset)
        return {
            "actions_at_bounds": float(np.mean(np.abs(sample.action) > 0.999)),
            "nearest_recorded": _nearest_recorded(run, sample),
            "simulator": simulator and judge.transitions(simulator, sample),
        }

    if several:
        print(f"{name}: transitions that sum several rewards are not judged by the simulator")
    with stage.folder(run.workdir) as folder:
        return _stored(folder, judged)


def _nearest_recorded(run: Run, sample: Transition) -> dict[str, float]:
    """Median distance of states and actions to the nearest recorded ones, beside recorded ones'."""
    rng = np.random.default_rng(0)
    recorded = np.hstack([run.transitions.observation, run.transitions.action])
    if len(recorded) > NEIGHBORS:
        recorded = recorded[rng.choice(len(recorded), NEIGHBORS, replace=False)]
    synthetic = np.hstack([sample.observation, sample.action])
    others = recorded[rng.choice(len(recorded), min(len(synthetic), len(recorded)), replace=False)]
    return {
        "synthetic": float(np.median(nearest_distances(synthetic, recorded))),
        "recorded": float(np.median(nearest_distances(others, recorded, exclude_itself=True))),
    }


def _stored(folder: StageFiles, measure: Any) -> dict[str, Any]:
    """What `measure` returns, from the stage's record if it is there."""

    def report() -> dict[str, Any]:
        if not files.sound(folder.record, folder.stage):
            files.write_sealed_json(folder.record, measure())
        return json.loads(folder.record.read_text())

    return on_first(report)
