"""A policy of a finished run, written as files for other programs."""

import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dawm_jax.errors import require
from dawm_jax.export.policies import TrainedPolicy, to_jax, to_safetensors
from dawm_jax.settings import PolicyName
from experiments.run.finished import FinishedRun
from experiments.store import files
from experiments.system.disk_errors import disk_errors_explained
from experiments.system.machine import check_writable

ARRAYS, PROGRAM = "policy.safetensors", "policy.jax"


def export_policy(
    run: FinishedRun,
    learner: str | None,
    source: str | None,
    seed: int | None,
    policy: PolicyName,
    out: Path,
    overwrite: bool,
) -> list[Path]:
    """Writes the policy of one seed into the folder `out`; returns the files.

    Args:
        learner, source: may be None if the run has only one.
        seed: None: the run's first.
        policy: 'averaged' or 'last'.

    Raises:
        UserError: the run has no such policy, or several; its state is damaged; the folder exists
            and may not be overwritten.
    """
    entries = run.entries(learner, source)
    every = ", ".join(f"{entry['name']} on {entry['source']}" for entry in entries)
    require(
        len(entries) == 1,
        f"the run has several such policies ({every}): name one with --learner and --source",
    )
    position = 0 if seed is None else run.position(seed)
    check_new_folder(out, overwrite)
    (entry,) = entries
    state = jax.tree.map(lambda leaf: leaf[position], run.states(entry))
    trained = TrainedPolicy(run.learner(entry["name"]), state, run.dataset, policy)
    facts = _facts(run, entry, position, policy)
    contents = {ARRAYS: to_safetensors(trained, facts)}
    if run.dataset.observation_origin.any():
        print(f"{PROGRAM} is not written: float32 does not hold the observations of the data set")
    else:
        contents[PROGRAM] = to_jax(trained)
    return _write(out, contents)


def check_new_folder(path: Path, overwrite: bool) -> None:
    """Raises UserError if a folder holds files that may not be replaced, or is not writable."""
    full = path.is_dir() and any(path.iterdir())
    require(overwrite or not full, f"{path} exists; replace its policy with --overwrite")
    check_writable(path)


def _facts(
    run: FinishedRun, entry: dict[str, Any], position: int, policy: PolicyName
) -> dict[str, Any]:
    """What the header says of where a policy comes from, and how it did."""
    final = entry["policies"][policy]["seeds"][position]
    spec = run.dataset.evaluation_environment
    returns = final["returns"]
    return {
        "learner": entry["name"],
        "source": entry["source"],
        "seed": final["seed"],
        "run_seed": run.config.seed,
        "updates": run.config.updates,
        "dataset": run.config.dataset,
        "observation_parts": list(run.dataset.observation_layout.sizes),
        "environment": spec.id if spec else None,
        "environment_settings": spec.kwargs if spec else None,
        "reference_scores": run.dataset.reference_scores,
        "run": run.workdir.resolve().name,
        "commit": entry["commit"],
        "score": final["normalized_score"],
        "return": float(np.mean(returns)) if returns else None,
        "episodes": len(returns),
    }


def _write(out: Path, contents: dict[str, bytes]) -> list[Path]:
    """Writes sealed files into a folder, in it all of them or none."""
    partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
    with disk_errors_explained(out):
        try:
            partial.mkdir(parents=True)
            for name, content in contents.items():
                (partial / name).write_bytes(content)
                files.seal(partial / name)
            out.mkdir(exist_ok=True)
            for name in (ARRAYS, PROGRAM):
                files.remove(out / name)
            for path in partial.iterdir():
                os.replace(path, out / path.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return [out / name for name in contents]
