"""The models of a run, trained as stages on the episodes that are not held out, and measured."""

import json
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import optax

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.evaluation.fidelity import windows_a_call
from dawm_jax.types import Rollout, Window
from experiments.fidelity import held_out
from experiments.run.context import Run
from experiments.stages.sizes import sized
from experiments.stages.train import Trained, train_component
from experiments.store import files
from experiments.store.stage import Stage
from experiments.system.machine import enough_memory
from experiments.system.processes import on_first
from experiments.system.tracing import trace


@enough_memory("world_model.batch_size or world_model.width")
def train_world_model(run: Run) -> Trained:
    """The world model of a run's config."""
    model, config = run.components.world_model, run.config
    windows = WindowSet.of(run.splits[0], model.horizon, config.skip_truncated_tail)
    init_key, train_key = jax.random.split(run.key("world_model"))
    split = [config.held_out, config.skip_truncated_tail]
    stage = run.stage("world_model", model, run.data_stage, extra=split)
    new, every = model.new(init_key, windows), config.checkpoint_every
    return train_component(run, stage, model, new, windows, train_key, save_every=every)


@enough_memory("inverse_dynamics.batch_size or inverse_dynamics.hidden")
def train_inverse_dynamics(run: Run) -> Trained:
    """The inverse dynamics model of a run's config."""
    return _train_on_transitions(run, "inverse_dynamics", run.components.inverse_dynamics)


def _train_on_transitions(run: Run, name: str, model: Any) -> Trained:
    transitions = to_transitions(run.splits[0])
    init_key, train_key = jax.random.split(run.key(name))
    stage = run.stage(name, model, run.data_stage, extra=run.config.held_out)
    new, every = model.new(init_key, transitions), run.config.checkpoint_every
    return train_component(
        run, stage, model, new, TransitionSet(transitions), train_key, save_every=every
    )


@enough_memory("synthesis.chunk, measurement.windows or measurement.episodes")
def measure(
    run: Run, world_model: Trained, inverse_dynamics: Trained
) -> tuple[dict[str, Any] | None, tuple[Window, Rollout] | None]:
    """How good the models are on held-out episodes, beside yardsticks, and the windows compared.

    The figures are those of `experiments.fidelity.held_out`, kept as JSON; None where no held-out
    episode holds a window.
    """
    windows = held_out.held_out_windows(run)
    if windows is None:
        print("models not measured: no held-out episode holds a window", flush=True)
        return None, None
    one_step = _train_on_transitions(run, "one_step_model", run.components.one_step_model)
    states = held_out.States(world_model.state, inverse_dynamics.state, one_step.state)
    drawn = asdict(run.components.synthesis)
    sampling = {name: drawn[name] for name in held_out.SAMPLING}
    parents = (world_model.stage, inverse_dynamics.stage, one_step.stage)
    sizes = [asdict(run.components.measurement), held_out.QUANTILES]
    stage = Stage("fidelity", [sampling, *sizes], parents)
    with stage.folder(run.workdir) as folder:
        settings = sized(run, stage.name, folder, states.world_model, states.inverse_dynamics)
        on_one_device = -(-settings.chunk // jax.device_count())
        if run.profile:
            count = min(run.components.measurement.windows, len(windows.starts))
            few = windows_a_call(count, on_one_device)
            again = partial(held_out.compare, run, states, windows, count=few)
            trace(run.workdir, stage.name, f"{few} windows imagined at once", again)
        compared = held_out.compare(run, states, windows, on_one_device)
        record = folder / "record.json"

        def kept() -> dict[str, Any]:
            if not files.sound(record, stage.name):
                report = held_out.measure(run, states, windows, *compared)
                files.write_sealed_json(record, report)
            return json.loads(record.read_text())

        report = on_first(kept)
    print(held_out.describe(report), flush=True)
    return report, compared


def summary(trained: Trained) -> dict[str, Any]:
    """What results.json says of a trained model."""
    return {
        "parameters": optax.tree.size(trained.state.params),
        "updates_per_second": trained.record["updates_per_second"],
        "commit": trained.record["commit"],
        **trained.record["metrics"],
    }
