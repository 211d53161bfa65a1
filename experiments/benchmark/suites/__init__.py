"""The suites by name; each yields groups of cases, small ones first."""

from collections.abc import Callable

from experiments.benchmark.cases import Groups
from experiments.benchmark.scope import Options
from experiments.benchmark.suites import data, learners, models, pipeline, sampling, scale

SUITES: dict[str, Callable[[Options], Groups]] = {
    "sampling": sampling.groups,
    "learners": learners.groups,
    "world_model": models.world_model_groups,
    "inverse_dynamics": models.inverse_dynamics_groups,
    "data": data.groups,
    "pipeline": pipeline.groups,
    "scale": scale.groups,
}
