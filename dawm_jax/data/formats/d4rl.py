"""D4RL's HDF5 files (Fu et al. 2020): flat arrays of steps, cut into episodes.

Pitfalls of the format, each with a test: the observation after an episode's last step is only in
`next_observations`; the data are cut at a round number, so that the last episode ends nowhere;
version 0 of some sets has no `timeouts`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from dawm_jax.data.columns import Fields
from dawm_jax.data.formats.steps import cut, jumps
from dawm_jax.errors import DatasetError, require

NEEDED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("next_observations", "timeouts")


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, each with a row per step.

    Raises:
        UserError: the file is not in D4RL's layout.
    """
    try:
        with h5py.File(path) as file:
            arrays = {name: file[name][()] for name in (*NEEDED, *OPTIONAL) if name in file}
    except (OSError, AttributeError, TypeError) as error:  # no HDF5, or groups for arrays
        raise DatasetError(f"{path} is not an HDF5 file of arrays: {error}") from error
    missing = [name for name in NEEDED if name not in arrays]
    require(
        not missing,
        f"{path} has no {', '.join(missing)}: it is not in D4RL's layout, which has a row per "
        f"step of {', '.join(NEEDED)}",
    )
    steps = len(arrays["observations"])
    require(steps > 0, f"{path} has no steps")
    for name, array in arrays.items():
        require(
            len(array) == steps,
            f"{path} has {len(array)} rows of {name}, but {steps} of observations: it is cut or "
            "damaged",
        )
    for name in {"rewards", "terminals", "timeouts"} & arrays.keys():
        arrays[name] = arrays[name].reshape(steps)
    return arrays


def episodes(arrays: Mapping[str, np.ndarray], max_steps: int | None = None) -> Iterator[Fields]:
    """The episodes of D4RL's arrays, in order.

    An episode ends where `terminals` or `timeouts` say so, where the next observation is not the
    following row, and, without `timeouts`, after `max_steps` steps.

    Args:
        arrays: see `read`.
        max_steps: the environment's step limit.

    Raises:
        UserError: nothing says where episodes end.
    """
    terminal = np.asarray(arrays["terminals"], bool)
    ends = terminal | jumps(arrays)
    if "timeouts" in arrays:
        ends |= np.asarray(arrays["timeouts"], bool)
    else:
        require(
            max_steps is not None,
            "the data have no timeouts: give the step limit of the environment (--max_steps)",
        )
        assert max_steps
        ends = _with_limit(ends, max_steps)
    return cut(arrays, ends, terminal)


def _with_limit(ends: np.ndarray, max_steps: int) -> np.ndarray:
    """`ends`, and after every `max_steps` steps of an episode."""
    starts = np.concatenate([[0], np.flatnonzero(ends) + 1])
    first = starts[np.searchsorted(starts, np.arange(len(ends)), side="right") - 1]
    return ends | ((np.arange(len(ends)) - first + 1) % max_steps == 0)
