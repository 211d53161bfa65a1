"""LeRobot's data sets, v2 and v3: a folder of parquet files with a row per frame.

Pitfalls of the format, each with a test: a file of v3 holds many episodes, one of v2 a single one,
and neither the order of files nor that of rows is promised; there is no observation after the last
frame; `next.done` marks the end of an episode and not why it ended.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dawm_jax.data.formats import logs
from dawm_jax.data.formats.logs import ColumnMap
from dawm_jax.data.formats.parquet_table import open_parquet
from dawm_jax.data.formats.steps import Recording
from dawm_jax.data.formats.tables import Table, columns_of, listed
from dawm_jax.errors import DatasetError, require

INFO = Path("meta") / "info.json"
VERSIONS = ("v2.", "v3.")
ORDER = ("episode_index", "frame_index")


def read(folder: Path, columns: ColumnMap) -> Recording:
    """The episodes of a data set, in the order of their indices.

    Args:
        columns: observation, action, reward, terminal and timeout, where they are not
            observation.state, action, next.reward, and next.done for the terminal. An end that is
            not terminal is truncated.

    Raises:
        UserError: the folder is no such data set, is not complete, or lacks a column.
    """
    info = _info(folder)
    files = sorted((folder / "data").glob("*/*.parquet"))
    require(
        len(files) > 0,
        f"{folder} has no data/*/*.parquet: download all of the data set",
    )
    table = open_parquet(files)
    _check_vectors(folder, info, table)
    order = _order(folder, info, table)

    def ordered(names: Any) -> dict[str, np.ndarray]:
        return {name: column[order] for name, column in table.read(names).items()}

    return logs.read(
        Table(folder.name, table.columns, ordered), _with_defaults(columns, table.columns)
    )


def _info(folder: Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / INFO).read_text())
        version = str(info["codebase_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder} has no readable {INFO} with a codebase_version: it is no LeRobot data set"
        ) from error
    require(
        version.startswith(VERSIONS),
        f"{folder} is of LeRobot's version {version}; v2 and v3 are read. Convert it with LeRobot",
    )
    return info


def _check_vectors(folder: Path, info: dict[str, Any], table: Table) -> None:
    """A hint at what a data set of pictures alone lacks."""
    features = info.get("features") or {}
    pictures = [name for name in features if str(features[name].get("dtype")) in ("image", "video")]
    if pictures and "observation.state" not in table.columns:
        raise DatasetError(
            f"{folder} has pictures ({', '.join(pictures)}), which are not supported, but no "
            f"observation.state; its columns are {listed(table.columns)}"
        )


def _order(folder: Path, info: dict[str, Any], table: Table) -> np.ndarray:
    """The order of rows by episode and frame; frames must be 0, 1, ... in each episode."""
    episode, frame = columns_of(table, ORDER).values()
    order = np.lexsort((frame, episode))
    episode, frame = episode[order], frame[order]
    starts = np.append(True, episode[1:] != episode[:-1])
    expected = np.arange(len(frame)) - np.maximum.accumulate(
        np.where(starts, np.arange(len(frame)), 0)
    )
    wrong = frame != expected
    require(
        not wrong.any(),
        f"{folder}: frame {expected[wrong.argmax()]} of episode {episode[wrong.argmax()]} is "
        "missing or there twice: download the data set again",
    )
    for what, found in (("frames", len(frame)), ("episodes", int(starts.sum()))):
        claimed = info.get(f"total_{what}", found)
        require(
            claimed == found,
            f"{folder} holds {found} {what}, but {INFO} names {claimed}: download all of it",
        )
    return order


def _with_defaults(columns: ColumnMap, known: tuple[str, ...]) -> ColumnMap:
    reward = "next.reward" if "next.reward" in known else None
    done = "next.done" if "next.done" in known and columns.timeout != "next.done" else None
    return replace(
        columns,
        observation=columns.observation or ("observation.state",),
        action=columns.action or ("action",),
        reward=reward if columns.reward is None else columns.reward,
        terminal=done if columns.terminal is None else columns.terminal,
        episode="episode_index",
        time="timestamp" if "timestamp" in known else None,
    )
