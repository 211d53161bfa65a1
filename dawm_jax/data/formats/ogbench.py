"""OGBench's npz files (Park et al. 2025): states in a row, one trajectory after the other.

Pitfalls of the format, each with a test: `terminals` marks the last *state* of a trajectory, from
which no action was taken, not its last step; no trajectory ends in a terminal state; the compact
form marks the last step too, and the last state in `valids`; `masks` are 0 where the task is
solved, in the middle of a trajectory, which goes on.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dawm_jax.data.columns import Fields
from dawm_jax.data.formats.npz_table import open_npz
from dawm_jax.data.formats.steps import (
    Recording,
    check_actions,
    check_observations,
    episode_of,
)
from dawm_jax.data.formats.tables import columns_of
from dawm_jax.errors import UserError, require

NEEDED = ("observations", "actions", "terminals")
OPTIONAL = ("valids", "masks", "qpos", "button_states")  # the last two are what rewards depend on
MARKS = {"valids", "qpos"}  # by which such a file is recognized
Rewards = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # arrays of a file -> a reward per row


def read(path: Path, rewards: str | Rewards) -> Recording:
    """The trajectories of a file, as truncated episodes.

    Args:
        rewards: the name of an array with a reward in each row, for the action of that row, or a
            function of the arrays.

    Raises:
        UserError: the file is not in OGBench's layout.
    """
    table = open_npz(path)
    missing = [name for name in NEEDED if name not in table.columns]
    require(
        not missing,
        f"{path} has no {', '.join(missing)}: it is not in OGBench's layout, which has a row per "
        f"state of {', '.join(NEEDED)}",
    )
    require(
        "next_observations" not in table.columns,
        f"{path} has next_observations: it holds steps, not OGBench's states. Import it with "
        "--format=npz and name its columns, its terminals as --timeout",
    )
    own = [rewards] if isinstance(rewards, str) else []
    known = [name for name in OPTIONAL if name in table.columns]
    arrays = columns_of(table, [*NEEDED, *known, *own])
    check_observations(f"observations of {path}", arrays["observations"])
    check_actions(f"actions of {path}", arrays["actions"])
    last = _last_states(path, arrays)
    reward = arrays[rewards] if isinstance(rewards, str) else rewards(arrays)
    require(
        reward.size == len(last),
        f"the rewards of {path} have shape {reward.shape}; one for each of its {len(last)} rows is "
        "expected",
    )
    return Recording(
        episodes=_episodes(arrays, reward.reshape(-1), last),
        steps=int((~last).sum()),
        notes=_notes(arrays, last),
    )


def _last_states(path: Path, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N,) whether a row is the last state of a trajectory; the file's last row always is."""
    terminal = _flags(path, "terminals", arrays)
    last = ~_flags(path, "valids", arrays) if "valids" in arrays else terminal.copy()
    last[-1] = True
    if not terminal[last[:-1].nonzero()].all():
        raise UserError(f"{path} contradicts itself: a row that is not valid ends no trajectory")
    return last


def _flags(path: Path, name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    values = arrays[name].reshape(-1)
    require(
        bool(np.isin(values, (0, 1)).all()) and values.shape == arrays["terminals"].shape[:1],
        f"{name} of {path} must be 0 or 1 in each row",
    )
    return values == 1


def _episodes(
    arrays: Mapping[str, np.ndarray], rewards: np.ndarray, last: np.ndarray
) -> list[Fields]:
    """Episodes of n steps from n + 1 states; a trajectory of one state has no steps."""
    ends = np.flatnonzero(last)
    starts = np.append(0, ends[:-1] + 1)
    return [
        episode_of(
            arrays["observations"][start : end + 1],
            arrays["actions"][start:end],
            rewards[start:end],
            terminated=False,
        )
        for start, end in zip(starts, ends, strict=True)
        if end > start
    ]


def _notes(arrays: Mapping[str, np.ndarray], last: np.ndarray) -> tuple[str, ...]:
    if "masks" not in arrays:
        return ()
    solved = int((arrays["masks"].reshape(-1)[~last] == 0).sum())
    return (f"masks: 0 in {solved:,} steps, where the task is solved; no episode ends there",)
