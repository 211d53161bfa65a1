"""From a config to the parts of a run, checked before anything is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ml_collections import ConfigDict

from dawm_jax.diffusion.schedule import visited_steps
from dawm_jax.errors import require, require_choice
from dawm_jax.learners import LEARNERS, Learner
from dawm_jax.models.dynamics import OneStepModel
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.settings import (
    BatchSize,
    Between,
    Count,
    CountOrZero,
    Dropout,
    Factor,
    Few,
    Positive,
    check_settings,
    check_value,
)
from dawm_jax.sources.generate import Synthesis
from dawm_jax.training.loop import Component

Part = TypeVar("Part")


@dataclass(frozen=True)
class General:
    """What a config holds besides the settings of its parts; configs/dawm.py explains each."""

    dataset: str
    download: bool
    collect_steps: Count
    discount: Factor
    return_scale: Positive | None
    skip_truncated_tail: CountOrZero
    held_out: Dropout
    learners: tuple[str, ...]
    sources: tuple[str, ...]
    synthetic_ratio: Between
    pool_memory: Positive | None
    seed: CountOrZero
    seeds: Few
    updates: Count
    log_every: Count
    checkpoint_every: Count
    evaluate_every: Count
    evaluation_episodes: Few

    def __post_init__(self) -> None:
        check_settings(self, "config")
        environments = self.seeds * self.evaluation_episodes
        check_value("config.seeds times config.evaluation_episodes", environments, Few)


@dataclass(frozen=True)
class Measurement:
    """How much is measured of the models, on held-out episodes."""

    windows: BatchSize = 4096  # compared with recorded ones
    judged: BatchSize = 1024  # of them, in the simulator
    episodes: BatchSize = 64  # imagined for each return asked for
    steps: Count = 240  # of such an episode, rounded down to whole windows

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Components:
    """The parts that a config describes."""

    world_model: WorldModel
    inverse_dynamics: InverseDynamics
    one_step_model: OneStepModel
    synthesis: Synthesis
    measurement: Measurement
    learners: dict[str, Learner]


def build(config: ConfigDict) -> Components:
    """The parts of a run.

    Raises:
        UserError: a value is out of range, or names an unknown part.
    """
    general = {f.name for f in fields(General)}
    models = {"world_model", "inverse_dynamics", "one_step_model"}
    blocks = {*models, "synthesis", "measurement", *LEARNERS}
    for name in config:
        require_choice("setting", name, general | blocks)
    for name in (*general, *blocks):
        require(name in config, f"the config has no '{name}': begin with configs/dawm.py's")
    General(**{name: config[name] for name in general})
    for name in names(config.learners):
        require_choice("learner", name, LEARNERS)
    require(bool(names(config.learners)), "config.learners is empty; name at least one learner")
    components = Components(
        world_model=_part(config, "world_model", WorldModel),
        inverse_dynamics=_part(config, "inverse_dynamics", InverseDynamics),
        one_step_model=_part(config, "one_step_model", OneStepModel),
        synthesis=_part(config, "synthesis", Synthesis),
        measurement=_part(config, "measurement", Measurement),
        learners={
            name: _part(config, name, LEARNERS[name], steps=config.updates)
            for name in names(config.learners)
        },
    )
    visited_steps(components.world_model.diffusion_steps, components.synthesis.sampling_steps)
    every = {"checkpoint_every": config.checkpoint_every}
    _check_lengths(config, "world_model.steps", components.world_model, every)
    _check_lengths(config, "inverse_dynamics.steps", components.inverse_dynamics, every)
    _check_lengths(config, "one_step_model.steps", components.one_step_model, every)
    every = {"evaluate_every": config.evaluate_every}
    for learner in components.learners.values():
        _check_lengths(config, "updates", learner, every)
    return components


def _part(config: ConfigDict, block: str, make: Callable[..., Part], **given: Any) -> Part:
    """`make` called with the settings of the config's `block`, and with those `given`."""
    settings = config[block]
    require(isinstance(settings, ConfigDict), f"config.{block} is no block of settings")
    known = {field.name for field in fields(make)} - given.keys()
    for name in settings:
        require_choice(f"setting of config.{block}", name, known)
    return make(**settings, **given)


def names(values: tuple[str, ...]) -> tuple[str, ...]:
    """('a,b', 'c') -> ('a', 'b', 'c'), so that --config.learners=a,b needs no quotes."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _check_lengths(
    config: ConfigDict, name: str, component: Component, every: dict[str, int]
) -> None:
    """Requires lengths that compiled chunks of `config.log_every` updates can make."""
    chunk = chunk_length(config, component)
    for field, value in {name: component.steps, **every}.items():
        require(
            value > 0 and (value % chunk == 0 or value >= component.steps),
            f"config.{field} is {value}; it must be a positive multiple of {chunk}, the updates in "
            "one compiled scan (config.log_every)",
        )
    unit = component.updates_per_step
    require(
        component.steps % chunk == 0 and chunk % unit == 0,
        f"config.{name} is {component.steps} and config.log_every {config.log_every}; the first "
        f"must be a multiple of the second, and both of {unit}",
    )


def chunk_length(config: ConfigDict, component: Component) -> int:
    """Updates in one compiled scan."""
    return min(config.log_every, component.steps)
