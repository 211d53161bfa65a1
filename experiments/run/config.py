"""From a config to the components of a run, checked before anything is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from ml_collections import ConfigDict

from dawm_jax.errors import UserError, require, require_choice
from dawm_jax.learners import LEARNERS, Learner
from dawm_jax.models.dynamics import OneStepModel
from dawm_jax.settings import (
    ActionBounds,
    BatchSize,
    Count,
    CountOrZero,
    Dropout,
    EpisodeChoice,
    Factor,
    Few,
    FewOrZero,
    Goals,
    Number,
    PolicyName,
    Positive,
    check_settings,
    check_value,
)
from dawm_jax.sources import SOURCES, Source
from dawm_jax.sources.generate import Synthesis
from dawm_jax.training.protocol import Component

Settings = TypeVar("Settings")
ROWS = ("policy_rows", "critic_rows", "cloning_rows", "advantage_rows")  # settings of learners
TEMPLATE = "experiments/configs/dawm.py"


def on_all_rows(learner: Any) -> dict[str, str]:
    """The settings with which every loss of a learner is computed on all rows of a batch."""
    return {rows: "all" for rows in ROWS if hasattr(learner, rows)}


@dataclass(frozen=True)
class General:
    """The settings of a config that belong to no component; configs/dawm.py explains each."""

    dataset: str
    download: bool
    action_bounds: ActionBounds
    goals: Goals
    reward_shift: Number
    episodes: EpisodeChoice
    episode_share: Factor
    d4rl_mirror: str
    d4rl_revision: str
    collect_steps: Count
    discount: Factor
    return_scale: Positive | None
    held_out: Dropout
    learners: tuple[str, ...]
    sources: tuple[str, ...]
    synthetic_ratio: Dropout
    max_distance: Positive | None
    policy: PolicyName
    pool_memory: Positive | None
    seed: CountOrZero
    seeds: Few
    updates: Count
    log_every: Count
    checkpoint_every: Count
    evaluate_every: Count
    evaluation_episodes: FewOrZero

    def __post_init__(self) -> None:
        check_settings(self, "config")
        environments = self.seeds * self.evaluation_episodes
        check_value("config.seeds times config.evaluation_episodes", environments, FewOrZero)


@dataclass(frozen=True)
class Fidelity:
    """How much of a source's data is measured."""

    windows: BatchSize = 4096  # held-out windows compared with rollouts from their first step
    judged: BatchSize = 1024  # of them, in the simulator
    contexts: BatchSize = 256  # of them, from each of which several rollouts start
    samples: BatchSize = 8  # rollouts from each of these
    transitions: BatchSize = 4096  # synthetic transitions judged in the simulator
    episodes: BatchSize = 64  # chained from rollouts, for each target return-to-go
    steps: Count = 240  # of such an episode, rounded down to whole rollouts
    one_step_model: OneStepModel = field(default_factory=OneStepModel)  # the yardstick

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Components:
    """The components that a config describes, those of sources and learners by name."""

    sources: dict[str, Source]
    learners: dict[str, Learner]
    synthesis: Synthesis
    fidelity: Fidelity


def build(config: ConfigDict) -> Components:
    """The components of a run: of the sources and learners that it names, and no others.

    Raises:
        UserError: a value is out of range, or names an unknown component.
    """
    general = {f.name for f in fields(General)}
    blocks = {"synthesis", "fidelity", *SOURCES, *LEARNERS}
    for name in config:
        require_choice("setting", name, general | blocks)
    for name in general:
        require(name in config, f"the config has no '{name}': start from {TEMPLATE}")
    General(**{name: config[name] for name in general})
    for kind, registry in (("source", SOURCES), ("learner", LEARNERS)):
        listed = names(config[f"{kind}s"])
        require(bool(listed), f"config.{kind}s is empty: name at least one {kind}")
        for name in listed:
            require_choice(kind, name, registry)
    components = Components(
        sources={name: _from_block(config, name, SOURCES[name]) for name in names(config.sources)},
        learners={
            name: _from_block(config, name, LEARNERS[name], steps=config.updates)
            for name in names(config.learners)
        },
        synthesis=_from_block(config, "synthesis", Synthesis),
        fidelity=_from_block(config, "fidelity", Fidelity),
    )
    models = {
        f"{source}.{name}": model
        for source, settings in components.sources.items()
        for name, model in settings.models().items()
    }
    models["fidelity.one_step_model"] = components.fidelity.one_step_model
    for name, model in models.items():
        every = {"checkpoint_every": config.checkpoint_every}
        _check_lengths(config, f"{name}.steps", model, every)
    for learner in components.learners.values():
        _check_lengths(config, "updates", learner, {"evaluate_every": config.evaluate_every})
    return components


def data_settings(config: ConfigDict) -> dict[str, Any]:
    """How `load` reads the data set of a run."""
    return {
        "dataset_id": config.dataset,
        "discount": config.discount,
        "return_scale": config.return_scale,
        "action_bounds": config.action_bounds,
        "goals": config.goals,
        "reward_shift": config.reward_shift,
        "episodes": config.episodes,
        "share": config.episode_share,
    }


def from_json(stored: Any) -> ConfigDict:
    """The config of a run from JSON, which has lists for tuples.

    Raises:
        UserError: these are not the settings of a run of this version.
    """

    def restored(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: restored(one) for name, one in value.items()}
        return tuple(restored(one) for one in value) if isinstance(value, list) else value

    try:
        config = ConfigDict(restored(stored))
        data_settings(config)
    except (ValueError, TypeError, AttributeError) as error:
        what = str(error).splitlines()[0]
        raise UserError(f"these are not the settings of a run of this version: {what}") from error
    return config


def _from_block(
    config: ConfigDict, name: str, make: Callable[..., Settings], **given: Any
) -> Settings:
    """The settings in the config's block `name`, and those `given`."""
    require(
        name in config or not fields(make),  # type: ignore[arg-type]
        f"the config has no block '{name}': start from {TEMPLATE}",
    )
    return _settings(f"config.{name}", config.get(name, ConfigDict()), make, given)


def _settings(
    where: str, block: Any, make: Callable[..., Settings], given: dict[str, Any]
) -> Settings:
    """`make` called with the block's values; a field that is itself settings is a block, too."""
    if not isinstance(block, ConfigDict):
        raise UserError(f"{where} is {block!r}; it must be a block of settings")
    hints = get_type_hints(make)
    known = {f.name for f in fields(make)} - given.keys()  # type: ignore[arg-type]
    values = {}
    for name, value in block.items():
        require_choice(f"setting of {where}", name, known)
        nested = is_dataclass(hints[name])
        values[name] = _settings(f"{where}.{name}", value, hints[name], {}) if nested else value
    return make(**values, **given)


def names(values: tuple[str, ...]) -> tuple[str, ...]:
    """('a,b', 'c') -> ('a', 'b', 'c'), so that --config.learners=a,b needs no quotes."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _check_lengths(
    config: ConfigDict, name: str, component: Component, every: dict[str, int]
) -> None:
    """Requires lengths that are whole numbers of compiled chunks of `config.log_every` updates."""
    chunk = chunk_length(config, component)
    for setting, value in {name: component.steps, **every}.items():
        require(
            value > 0 and (value % chunk == 0 or value >= component.steps),
            f"config.{setting} is {value}; it must be a positive multiple of {chunk}, the updates "
            "in one compiled scan (config.log_every)",
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
