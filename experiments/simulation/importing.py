"""Other people's data as Minari data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from dawm_jax.data.columns import check_columns
from dawm_jax.data.formats import d4rl, lerobot, logs, ogbench
from dawm_jax.data.formats.csv_table import open_csv
from dawm_jax.data.formats.detection import FORMATS, LOGS, format_of
from dawm_jax.data.formats.npz_table import open_npz
from dawm_jax.data.formats.parquet_table import open_parquet
from dawm_jax.data.formats.steps import Recording, check_actions, check_observations
from dawm_jax.data.references import task_scores
from dawm_jax.data.summary import summary
from dawm_jax.errors import require, require_choice
from dawm_jax.export.minari import write
from experiments.simulation.environments import specification
from experiments.simulation.import_options import Options
from experiments.simulation.import_spaces import action_space, check_sizes
from experiments.simulation.ogbench_tasks import Task, single_task
from experiments.store.new_data_set import bytes_of, new_data_set, reserve

# D4RL's rewards and physics are those of version 2; version 4 has the same rewards.
D4RL_ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ant": ("Ant-v4", {"use_contact_forces": True}),
    "halfcheetah": ("HalfCheetah-v4", {}),
    "hopper": ("Hopper-v4", {}),
    "walker2d": ("Walker2d-v4", {}),
}


def import_data(
    paths: Sequence[Path],
    dataset_id: str,
    kind: str | None = None,
    options: Options | None = None,
    *,
    overwrite: bool = False,
    origin: str = "",
) -> str:
    """Writes files of others as the Minari data set `dataset_id`; returns a summary.

    Args:
        paths: a file or folder; of logs, several files.
        kind: one of `FORMATS`; by the content unless given.
        origin: where the files are from, for the description.

    Raises:
        UserError: the files are unusable, or the data set exists and may not be overwritten.
            Nothing is written, and an existing data set stays.
    """
    options = options or Options()
    if kind is not None:
        require_choice("format", kind, FORMATS)
    with new_data_set(dataset_id, overwrite):
        kind = kind or format_of(paths)
        options.check(kind)
        require(
            len(paths) == 1 or kind in LOGS,
            f"{len(paths)} files are given, but the format {kind} takes one: import each under an "
            "id of its own, and train on both as a+b",
        )
        task = _task(dataset_id) if kind == "d4rl" else ""
        goal = _goal(paths[0], options) if kind == "ogbench" else None
        spec = _specification(task, goal, options)
        recording = _read(kind, paths, options, goal, spec)
        name = paths[0].name if len(paths) == 1 else f"{paths[0].name} to {paths[-1].name}"
        require(
            len(recording.episodes) > 0,
            f"{name} has no step whose next observation is known: nothing is left to import",
        )
        observations, actions = (recording.episodes[0][f] for f in ("observations", "actions"))
        shapes = observations.shape[1:], actions.shape[1:]
        columns = check_columns(name, recording.episodes, *shapes)
        check_sizes(spec, shapes)
        unit = kind in ("d4rl", "ogbench")
        space, bounds = action_space(recording.episodes, options, spec, unit)
        reserve(bytes_of(recording.episodes), len(recording.episodes))
        write(
            dataset_id,
            recording.episodes,
            environment=spec,
            spaces=(Box(-np.inf, np.inf, shapes[0], observations.dtype.type), space),
            reference_scores=task_scores(task),
            description=f"Imported from {origin or name} ({kind}).",
        )
    dropped = recording.steps - len(columns.rewards)
    return "\n".join(
        [
            f"wrote {dataset_id}, from {name} as {kind}",
            summary(columns, recording.observation_names, recording.action_names),
            bounds,
            *recording.notes,
            f"dropped: {dropped:,} steps, whose next observation is unknown",
            f"evaluated in: {spec.id if spec else 'no environment'}",
        ]
    )


def _task(dataset_id: str) -> str:
    """D4RL's name of the task that an id is of, such as hopper-medium-v2."""
    return dataset_id.removeprefix("d4rl/").replace("/", "-").replace("_", "-").lower()


def _goal(path: Path, options: Options) -> Task | None:
    """OGBench's task that gives the rewards; None if the file holds the user's own."""
    require(
        bool(options.columns.reward) != bool(options.task),
        f"{path} needs either a task or rewards, as OGBench stores none: name its single task, "
        "such as --task=antmaze-large-navigate-singletask-task1-v0, or an array of your own with a "
        "reward per row (--reward)",
    )
    return single_task(options.task, path) if options.task else None


def _specification(task: str, goal: Task | None, options: Options) -> Any | None:
    """The specification of the environment to evaluate in, if there is one."""
    if options.environment:
        return specification(options.environment)
    if goal:
        return goal.spec
    robot, settings = D4RL_ENVIRONMENTS.get(task.split("-")[0], (None, {}))
    return specification(robot, **settings) if robot else None


def _read(
    kind: str, paths: Sequence[Path], options: Options, goal: Task | None, spec: Any
) -> Recording:
    columns = options.columns
    match kind:
        case "d4rl":
            arrays = d4rl.read(paths[0])
            check_observations(f"observations of {paths[0]}", arrays["observations"])
            check_actions(f"actions of {paths[0]}", arrays["actions"])
            limit = options.max_steps or (spec and spec.max_episode_steps)
            return Recording(list(d4rl.episodes(arrays, limit)), len(arrays["rewards"]))
        case "ogbench":
            return ogbench.read(paths[0], goal.rewards if goal else str(columns.reward))
        case "lerobot":
            return lerobot.read(paths[0], columns)
        case "parquet":
            tables = [open_parquet([path]) for path in paths]
        case _:
            tables = [open_csv(path) if kind == "csv" else open_npz(path) for path in paths]
    return logs.joined([logs.read(table, columns, whole=len(paths) > 1) for table in tables])
