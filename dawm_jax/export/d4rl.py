"""D4RL's HDF5 files (Fu et al. 2020): flat arrays of steps, with the ends of episodes marked.

The observation after an episode's last step is only in `next_observations`; the row after it
begins the next episode. `terminals` marks ends of the task, `timeouts` all others.
"""

from pathlib import Path

import h5py
import numpy as np

from dawm_jax.export.rows import EpisodeRows

ARRAYS = {
    "observations": "observation",
    "actions": "action",
    "rewards": "reward",
    "next_observations": "next_observation",
    "terminals": "terminal",
    "timeouts": "terminal",
}


def write(path: Path, rows: EpisodeRows, about: str) -> None:
    """Writes all steps; `about` becomes `metadata/synthetic`, a text."""
    with h5py.File(path, "w") as file:
        for name, field in ARRAYS.items():
            kind = rows.kind[field]
            file.create_dataset(name, (rows.steps, *kind.shape), kind.base)
        done = 0
        for block in rows.blocks():
            there = slice(done, done + len(block))
            for name, field in ARRAYS.items():
                values = block["last"] & ~block["terminal"] if name == "timeouts" else block[field]
                file[name][there] = np.ascontiguousarray(values)
            done += len(block)
        file["metadata/synthetic"] = about
