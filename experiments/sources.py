"""Where the generated transitions come from. A source does not depend on any learner."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

import jax.numpy as jnp
import numpy as np

from dawm_jax.synthesis import synthesize
from dawm_jax.types import Rollout, Transition, Window
from experiments import models
from experiments.machine import enough_memory
from experiments.metrics import StageProgress
from experiments.run import Run, Trained
from experiments.stages import Stage, write_json
from experiments.versions import commit


@dataclass(frozen=True)
class Source:
    """What a learner is given besides the recorded transitions."""

    stage: Stage
    synthetic: Transition | None = None
    results: dict[str, Any] = field(default_factory=dict)  # entries of results.json
    windows: tuple[Window, Rollout] | None = None  # held-out ones beside imagined ones


def recorded(run: Run) -> Source:
    """Nothing: the model-free baseline."""
    return Source(run.data_stage)


def imagined(run: Run) -> Source:
    """DAWM's: windows of states and rewards from the world model, actions by inverse dynamics."""
    world_model = models.train_world_model(run)
    inverse_dynamics = models.train_inverse_dynamics(run)
    stage = Stage(
        "synthesis",
        {k: v for k, v in asdict(run.components.synthesis).items() if k != "chunk"},
        (world_model.stage, inverse_dynamics.stage),
    )
    fidelity, windows = models.measure(run, world_model, inverse_dynamics)
    made, record = _synthesize(run, stage, world_model, inverse_dynamics)
    results = {
        "world_model": models.summary(world_model),
        "inverse_dynamics": models.summary(inverse_dynamics),
        "synthesis": {**record, "fidelity": fidelity},
    }
    return Source(stage, made, results, windows)


SOURCES: dict[str, Callable[[Run], Source]] = {"real": recorded, "dawm": imagined}


@enough_memory("synthesis.chunk or synthesis.transitions")
def _synthesize(
    run: Run, stage: Stage, world_model: Trained, inverse_dynamics: Trained
) -> tuple[Transition, dict[str, Any]]:
    """The generated transitions, kept as an .npz in the environment's units, and their facts."""
    folder = stage.make_folder(run.workdir)
    arrays, record = folder / "transitions.npz", folder / "record.json"
    settings = run.components.synthesis
    if not record.exists():
        started = monotonic()
        with StageProgress("synthesis", settings.transitions) as progress:
            made = synthesize(
                run.components.world_model,
                world_model.state,
                run.components.inverse_dynamics,
                inverse_dynamics.state,
                run.dataset,
                settings,
                run.key("synthesis"),
                progress.update,
            )
        seconds = monotonic() - started
        fields = {**vars(made), "action": run.dataset.unscale_action(made.action)}
        with arrays.with_suffix(".partial").open("wb") as file:
            np.savez(file, **fields)
        arrays.with_suffix(".partial").rename(arrays)
        facts = {
            "transitions": len(made.reward),
            "transitions_per_second": len(made.reward) / seconds,
            "terminal_share": float((made.discount == 0.0).mean()),
            "reward_mean": float(made.reward.mean()),
            "commit": commit(),
            "file": str(arrays.relative_to(run.workdir)),
        }
        write_json(record, facts)
    with np.load(arrays, allow_pickle=False) as stored:
        fields = {**stored, "action": run.dataset.scale_action(stored["action"])}
    made = Transition(**{name: jnp.asarray(value) for name, value in fields.items()})
    return made, json.loads(record.read_text())
