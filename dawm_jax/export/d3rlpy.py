"""d3rlpy's HDF5 files, version 2.1: arrays of each episode, named by its number.

An episode has as many observations as actions. d3rlpy takes the next observation from the
following row, so it uses the last step of an episode only where the task ended with it.
"""

from pathlib import Path

import h5py
import numpy as np

from dawm_jax.export.rows import EpisodeRows

VERSION = "2.1"
COLUMNS = ("observations", "actions", "rewards", "terminated")


def write(path: Path, rows: EpisodeRows, about: str) -> None:
    """Writes all episodes; `about` becomes `synthetic`, a text that d3rlpy ignores."""
    count = 0
    with h5py.File(path, "w") as file:
        for episode in rows.episodes():
            arrays = {
                "observations": episode["observations"][:-1],
                "actions": episode["actions"],
                "rewards": episode["rewards"][:, None],
                "terminated": bool(episode["terminations"][-1]),
            }
            for name in COLUMNS:
                file[f"{name}_{count}"] = arrays[name]
            count += 1
        file["columns"] = np.array(COLUMNS, "S")
        file["num_episodes"] = count
        file["version"] = VERSION
        file["synthetic"] = about
