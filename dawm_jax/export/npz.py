"""The five flat arrays of SynthER (Lu et al. 2023) in a NumPy archive."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dawm_jax.data import npz_columns
from dawm_jax.export.rows import EpisodeRows

ARRAYS = {
    "observations": "observation",
    "actions": "action",
    "rewards": "reward",
    "next_observations": "next_observation",
    "terminals": "terminal",
}


def write(path: Path, rows: EpisodeRows) -> None:
    """Writes a row for each transition; `terminals` are 0 or 1, as float32."""

    def kind(name: str) -> tuple[np.dtype, tuple[int, ...]]:
        stored = rows.kind[ARRAYS[name]]
        base = np.dtype(np.float32) if name == "terminals" else stored.base
        return base, (rows.steps, *stored.shape)

    def blocks(name: str) -> Iterator[np.ndarray]:
        return (block[ARRAYS[name]] for block in rows.blocks())

    with path.open("wb") as file:
        npz_columns.write(file, {name: kind(name) for name in ARRAYS}, blocks)
