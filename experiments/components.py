"""From a config to the parts of a run, checked before anything is loaded."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from dawm_jax.diffusion.schedule import visited_steps
from dawm_jax.errors import require, require_choice
from dawm_jax.inverse_dynamics import InverseDynamics
from dawm_jax.learners import LEARNERS, Learner
from dawm_jax.one_step_model import OneStepModel
from dawm_jax.synthesis import Synthesis
from dawm_jax.training import Component
from dawm_jax.world_model import WorldModel

POSITIVE = ("seeds", "updates", "log_every", "evaluation_episodes", "collect_steps")


@dataclass(frozen=True)
class Components:
    """The parts that a config describes."""

    world_model: WorldModel
    inverse_dynamics: InverseDynamics
    one_step_model: OneStepModel
    synthesis: Synthesis
    learners: dict[str, Learner]


def build(config: ConfigDict) -> Components:
    """The parts of a run.

    Raises:
        UserError: a value is out of range, or names an unknown part.
    """
    for name in names(config.learners):
        require_choice("learner", name, LEARNERS)
    require(bool(names(config.learners)), "config.learners is empty; name at least one learner")
    for name in POSITIVE:
        require(config[name] > 0, f"config.{name} is {config[name]}; it must be positive")
    require(config.seed >= 0, f"config.seed is {config.seed}; it must not be negative")
    require(
        0.0 <= config.held_out < 1.0,
        f"config.held_out is {config.held_out}; it must be at least 0 and below 1",
    )
    require(
        0.0 < config.synthetic_ratio < 1.0,
        f"config.synthetic_ratio is {config.synthetic_ratio}; it must lie between 0 and 1",
    )
    components = Components(
        world_model=WorldModel(**config.world_model),
        inverse_dynamics=InverseDynamics(**config.inverse_dynamics),
        one_step_model=OneStepModel(**config.one_step_model),
        synthesis=Synthesis(**config.synthesis),
        learners={
            name: LEARNERS[name](steps=config.updates, **config[name])
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
