"""Which returns score 0 and 100 on a Minari data set, and why."""

from collections.abc import Callable
from typing import NamedTuple

import minari

from dawm_jax.data.columns import LARGEST
from dawm_jax.data.references import (
    D4RL_TASKS,
    EXPERT_RETURNS,
    RANDOM_RETURNS,
    REFERENCE_SCORES,
    robot_of,
    task_scores,
)
from dawm_jax.errors import DatasetError

PEN_STEPS = 100  # of an episode of D4RL's pen


class References(NamedTuple):
    """Returns that score 0 and 100, if known, and a sentence on them, if it is needed."""

    scores: tuple[float, float] | None = None
    note: str | None = None


def references_of(
    part: minari.MinariDataset, mean_return: Callable[[str], float | None]
) -> References:
    """Those in the metadata, or else those of Minari's own sets, of D4RL's task, of the robot.

    Args:
        mean_return: of the data set of an id; None if it is not on this machine.

    Raises:
        DatasetError: those in the metadata do not ascend.
    """
    metadata, environment = part.storage.metadata, part.env_spec
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is not None and high is not None:
        if not -LARGEST < low < high < LARGEST:
            raise DatasetError(
                f"reference scores are {low} and {high}; they must be finite and ascend: correct "
                "ref_min_score and ref_max_score in the metadata of the data set."
            )
        return References((float(low), float(high)), _caveat(part, (low, high)))
    namespace, _, task = part.id.partition("/")
    if namespace == "mujoco" and environment and environment.id.endswith("-v5"):
        return _of_mujoco(task.split("/")[0], robot_of(environment.id), mean_return)
    if namespace == "D4RL":
        return _of_d4rl(part, task)
    scores = REFERENCE_SCORES.get(robot_of(environment.id)) if environment else None
    return References(scores)


def _of_mujoco(name: str, robot: str, mean_return: Callable[[str], float | None]) -> References:
    """Uniform random actions, and the policy that recorded Minari's expert data."""
    if robot not in RANDOM_RETURNS:
        return References(note=f"No scores: no random return is known of {name}.")
    random, expert_id = RANDOM_RETURNS[robot], f"mujoco/{name}/expert-v0"
    zero = f"0 is the mean return of uniform random actions, {random:g}"
    if robot in EXPERT_RETURNS:
        expert, source = EXPERT_RETURNS[robot]
        return References(
            (random, expert),
            f"{zero}; 100 that of the policy of {expert_id}, {expert:g} by {source}.",
        )
    measured = mean_return(expert_id)
    if measured is None:
        return References(
            note=f"No scores: no expert reference. None is published for {name}; with {expert_id} "
            "on this machine, its mean return is the reference."
        )
    if measured <= random:
        return References(note=f"No scores: the mean return of {expert_id} is {measured:g}.")
    return References(
        (random, measured),
        f"{zero}; 100 the mean return of the episodes of {expert_id}, {measured:g}.",
    )


def _of_d4rl(part: minari.MinariDataset, task: str) -> References:
    """D4RL's references of a task, where its episodes are like D4RL's."""
    task = task.replace("/", "-")
    if task.startswith("pointmaze"):
        return References(
            note="No scores: D4RL's references of maze2d are of other mazes and step limits."
        )
    scores = task_scores(task)
    caveat = _caveat(part, scores) if scores else None
    if scores and caveat:
        return References(note=f"No scores: {caveat[0].lower()}{caveat[1:]}")
    return References(scores)


def _caveat(part: minari.MinariDataset, scores: tuple[float, float]) -> str | None:
    """What makes `scores` unlike D4RL's in the environment that policies are scored in."""
    specification = part._eval_env_spec or part.env_spec
    if specification is None:
        return None
    steps = specification.max_episode_steps
    if "HandPen" in specification.id and scores == D4RL_TASKS["pen"] and steps != PEN_STEPS:
        return (
            f"The references are of D4RL's pen, with {PEN_STEPS} steps an episode; here it has "
            f"{steps}, so that scores are higher."
        )
    if "Maze" in specification.id and specification.kwargs.get("continuing_task", True):
        return (
            "The episode goes on at the goal and the return counts the steps there: scores are not "
            "D4RL's, whose episodes end at the goal."
        )
    return None
