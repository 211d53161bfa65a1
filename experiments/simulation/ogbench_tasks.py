"""OGBench's single tasks: their rewards for its data, and their environments.

The package `ogbench` is optional; the rewards depend on a task's goal, which only its environments
know.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawm_jax.data.formats.ogbench import Rewards
from dawm_jax.errors import UserError, require


class Task(NamedTuple):
    """A task with a fixed goal."""

    spec: Any  # of its environment
    rewards: Rewards


def single_task(name: str, path: Path) -> Task:
    """The task `name`, such as antmaze-large-navigate-singletask-task1-v0, for the file `path`.

    Raises:
        UserError: ogbench is not installed, there is no such task, or the file is named after
            another data set.
    """
    parts = name.split("-")
    require(
        "singletask" in parts[2:],
        f"{name} is no single task of OGBench; one is antmaze-large-navigate-singletask-task1-v0",
    )
    data_set = "-".join([*parts[: parts.index("singletask")], parts[-1]])
    require(
        path.stem.removesuffix("-val") == data_set,
        f"{name} is a task of the data set {data_set}, but the file is {path.name}: goals differ "
        "between data sets. Name one of its tasks, or the file as OGBench does",
    )
    try:
        import ogbench
        from ogbench.relabel_utils import relabel_dataset
    except ImportError as error:
        raise UserError(
            f"the rewards of {name} are computed by OGBench's package, which is not installed: "
            "pip install ogbench, or name an array with your own rewards (--reward)"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of spaces' precision
            environment = ogbench.make_env_and_datasets(name, env_only=True)
    except Exception as error:  # environments of other packages raise anything
        raise UserError(
            f"OGBench has no task {name}: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    spec = environment.spec

    def rewards(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        labeled = dict(arrays)
        try:
            relabel_dataset(spec.id, environment, labeled)
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"{path.name} does not fit the task {name}: {type(error).__name__}: {error}. Its "
                "qpos and, of puzzles and scenes, button_states are needed"
            ) from error
        finally:
            environment.close()
        return labeled["rewards"]

    return Task(spec, rewards)
