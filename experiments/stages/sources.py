"""Where the generated transitions come from. A source does not depend on any learner."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.types import Rollout, Transition, Window
from experiments.run.context import Run
from experiments.stages import models
from experiments.stages.generate import generate
from experiments.store.stage import Stage


@dataclass(frozen=True)
class Source:
    """What a learner is given besides the recorded transitions."""

    stage: Stage
    synthetic: Transition | StoredTransitions | None = None
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
    made, record = generate(run, stage, world_model.state, inverse_dynamics.state)
    results = {
        "world_model": models.summary(world_model),
        "inverse_dynamics": models.summary(inverse_dynamics),
        "synthesis": {**record, "fidelity": fidelity},
    }
    return Source(stage, made, results, windows)


SOURCES: dict[str, Callable[[Run], Source]] = {"real": recorded, "dawm": imagined}
