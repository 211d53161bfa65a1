"""What is evaluated again: which policies, in which environment, by which reference returns."""

import json
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from dawm_jax.data.references import REFERENCE_SCORES, robot_of
from dawm_jax.errors import UserError, require
from dawm_jax.export.reading import ExportedPolicy, read_policy
from experiments.run.finished import FinishedRun
from experiments.run.policies import Policies, of_file, of_run
from experiments.simulation.environments import make, making, registered
from experiments.simulation.evaluator import Layouts, check_spaces
from experiments.store import files

ADVICE = "name an environment that fits with --env"
Reference = tuple[float, float] | None


@dataclass(frozen=True)
class Evaluation:
    """Policies and where they are evaluated."""

    policies: list[Policies]
    spec: EnvSpec
    reference: Reference  # returns that score 0 and 100
    dataset: str  # that they were trained on; "" where a file does not say


def of_finished(
    run: FinishedRun,
    learner: str | None = None,
    source: str | None = None,
    seed: int | None = None,
    environment: str | None = None,
) -> Evaluation:
    """The policies of a run, all or those named, in its environment or another one.

    Raises:
        UserError: the run has no such policy or a damaged one, or the environment does not fit.
    """
    run.entries(learner, source)  # before the data are loaded
    dataset = run.dataset
    known: Any = dataset.evaluation_environment
    require(
        bool(environment or known),
        f"'{dataset.id}' names no environment: name one with --env",
    )
    spec = environment_named(environment) if environment else known
    with making(spec), closing(make(spec)) as made:
        check_spaces(spec.id, dataset, made, ADVICE)
    reference = _reference(spec.id, dataset.reference_scores, known.id if known else None)
    return Evaluation(of_run(run, learner, source, seed), spec, reference, dataset.id)


def of_exported(path: Path, environment: str | None = None) -> Evaluation:
    """The policy in a file, in the environment that it names or another one.

    Raises:
        UserError: the file is missing, damaged or none of `experiments.export_policy`, or the
            environment does not fit.
    """
    if path.is_file() and files.seal_of(path).is_file():
        damage = files.damage(path)
        require(damage is None, f"in {path.parent}, {damage}: export the policy again")
    exported = read_policy(path)
    facts = exported.facts
    known = facts.get("environment", "null")
    require(bool(environment) or known != "null", f"{path} names no environment: add --env")
    spec = environment_named(environment or known)
    if environment in (None, known):
        spec = replace(spec, kwargs=spec.kwargs | json.loads(facts["environment_settings"]))
    layouts = _fitting(exported, spec)
    reference = _reference(spec.id, json.loads(facts.get("reference_scores", "null")), known)
    return Evaluation([of_file(exported, layouts)], spec, reference, facts.get("dataset", ""))


def environment_named(name: str) -> EnvSpec:
    """The Gymnasium environment of an id.

    Raises:
        UserError: there is none.
    """
    try:
        return registered(name)
    except (gymnasium.error.Error, ImportError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise UserError(f"there is no environment '{name}': {what}") from None


def _fitting(exported: ExportedPolicy, spec: EnvSpec) -> Layouts:
    """What of an environment an exported policy sees and sets.

    Raises:
        UserError: it does not fit the environment, or goes beyond its bounds.
    """
    with making(spec), closing(make(spec)) as environment:
        observation, action = Layouts.of_environment(environment)
    if names := json.loads(exported.facts.get("observation_parts", "null")):
        require(
            set(names) <= set(observation.sizes),
            f"{exported.name} observes {', '.join(names)}, but {spec.id} has "
            f"{', '.join(observation.sizes)}: {ADVICE}",
        )
        observation = observation.named(names)
    for what, found, size in (
        ("observations", observation.size, exported.observation_dim),
        ("actions", action.size, exported.action_dim),
    ):
        require(
            found == size,
            f"{what} in {spec.id} have {found} numbers, those of {exported.name} {size}: {ADVICE}",
        )
    for end, sign in (("low", 1.0), ("high", -1.0)):
        own = np.array(json.loads(exported.facts.get(f"action_{end}", "0.0")))
        there = getattr(action.box, end).reshape(-1)
        inside = sign * own >= sign * there - 1e-4 * np.abs(there)
        require(
            f"action_{end}" not in exported.facts or bool(np.all(inside)),
            f"the actions of {exported.name} go beyond the bounds of {spec.id}: {end} "
            f"{own.tolist()}, there {there.tolist()}: {ADVICE}",
        )
    return Layouts(observation, action)


def _reference(environment: str, known: Reference, known_in: str | None) -> Reference:
    """The returns that score 0 and 100: the `known` ones of this robot, or D4RL's."""
    robot = robot_of(environment)
    same = known is not None and known_in is not None and robot_of(known_in) == robot
    return known if same else REFERENCE_SCORES.get(robot)
