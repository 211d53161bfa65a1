"""Compares the results of two runs bit for bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.store.checkpoints import Checkpoints
from experiments.store.stage import stages_of

NOT_COMPARED = ("config", "versions", "commit")  # in results.json, with all rates


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The names of the results in which two runs differ, given their `results_of`."""
    return sorted(n for n in first.keys() | second.keys() if first.get(n) != second.get(n))


def results_of(workdir: Path) -> dict[str, Any]:
    """The results of a finished run by name: metrics, files and trained states.

    Timings and commits are left out. Arrays are included as bytes.
    """
    results = json.loads((workdir / "results.json").read_text())
    found = {
        "results.json": without_timings(results),
        "metrics.jsonl": sorted((workdir / "metrics.jsonl").read_text().splitlines()),
    }
    for stage in stages_of(workdir):
        for path in stage.results():
            if path != stage.record:  # it contains timings; results.json has the rest
                name = f"{stage.path.name}/{path.name}"
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (stage.checkpoints, stage.best):
            if folder.exists():
                found[f"{stage.path.name}/{folder.name}"] = _newest_state(folder, stage.stage)
    return found


def without_timings(results: Any) -> Any:
    """The content of results.json without the values that differ between identical runs."""
    if isinstance(results, dict):
        return {
            name: without_timings(value)
            for name, value in results.items()
            if name not in NOT_COMPARED and not name.endswith("per_second")
        }
    return [without_timings(value) for value in results] if isinstance(results, list) else results


def _newest_state(folder: Path, stage: str) -> tuple[int | None, dict[str, bytes]]:
    checkpoints = Checkpoints(folder, stage, keep=1)
    step = checkpoints.newest()
    leaves = []
    if step is not None:
        leaves = jax.tree_util.tree_leaves_with_path(checkpoints.load(step))
    checkpoints.close()
    return step, {jax.tree_util.keystr(path): _bytes(leaf) for path, leaf in leaves}


def _bytes(leaf: Any) -> bytes:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return f"{array.dtype} {array.shape} ".encode() + array.tobytes()
