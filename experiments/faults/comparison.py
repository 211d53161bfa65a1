"""Whether two runs of the same thing have the same results, to the bit."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.store.checkpoints import Checkpoints


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The names of the results, as of `results_of`, that two runs do not share."""
    return sorted(n for n in first.keys() | second.keys() if first.get(n) != second.get(n))


def results_of(workdir: Path) -> dict[str, Any]:
    """Every result of a finished run, by name: what it measured, made and trained.

    Timings and the commit are left out; arrays are there as their bytes.
    """
    results = json.loads((workdir / "results.json").read_text())
    found = {
        "results.json": without_timings(results),
        "metrics.jsonl": sorted((workdir / "metrics.jsonl").read_text().splitlines()),
    }
    for stage in (workdir / "stages").iterdir():
        for name in ("curve.json", "transitions.npz"):
            if (stage / name).exists():
                digest = hashlib.sha256((stage / name).read_bytes()).hexdigest()
                found[f"{stage.name}/{name}"] = digest
        for name in ("checkpoints", "best"):
            if (stage / name).exists():
                found[f"{stage.name}/{name}"] = _newest_state(stage, name)
    return found


def without_timings(results: Any) -> Any:
    """results.json without what differs between two runs of the same thing."""
    if isinstance(results, dict):
        return {
            name: without_timings(value)
            for name, value in results.items()
            if name not in ("config", "versions", "commit") and not name.endswith("per_second")
        }
    return [without_timings(value) for value in results] if isinstance(results, list) else results


def _newest_state(stage: Path, name: str) -> tuple[int | None, dict[str, bytes]]:
    checkpoints = Checkpoints(stage / name, stage.name, keep=1)
    step = checkpoints.newest()
    leaves = []
    if step is not None:
        leaves = jax.tree_util.tree_leaves_with_path(checkpoints.load(step))
    checkpoints.close()
    return step, {jax.tree_util.keystr(path): _bits(leaf) for path, leaf in leaves}


def _bits(leaf: Any) -> bytes:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return f"{array.dtype} {array.shape} ".encode() + array.tobytes()
