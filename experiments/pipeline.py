"""The pipeline of a run: data -> sources -> learners x seeds -> evaluation -> results.

Each stage stores its result in the run's folder (see store/stage.py), where a later run finds it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dawm_jax.data.formats.minari import load
from dawm_jax.errors import UserError, require
from dawm_jax.types import Dataset
from experiments.reporting import results
from experiments.run.config import Components, build, data_settings, from_json
from experiments.run.context import Run
from experiments.simulation.d4rl_mirror import fetch_missing
from experiments.simulation.evaluator import Evaluator, make_evaluator
from experiments.simulation.recording import collect_missing
from experiments.stages.learn import train_learner
from experiments.stages.source import near_enough, run_source
from experiments.store.files import write_json
from experiments.system import tracing
from experiments.system.disk_errors import disk_errors_explained
from experiments.system.machine import (
    cache_programs,
    check_devices,
    check_switches,
    check_writable,
    enough_memory,
    share_cores,
)
from experiments.system.processes import after_first, anywhere, on_first
from experiments.system.provenance import versions


def run(config: ConfigDict, workdir: Path, profile: bool = False) -> dict[str, Any]:
    """Runs everything that a config describes; returns the content of results.json.

    Args:
        profile: whether each stage writes a trace, see system/tracing.py.

    Raises:
        UserError: the config, the data or the machine is unusable, which is found before any
            training; or memory, the disk, an environment or the numbers fail later. Finished
            stages remain.
    """
    with disk_errors_explained(workdir), evaluating(config, workdir, profile) as (this, evaluator):
        sources = [run_source(this, name) for name in this.components.sources]
        learned = [
            train_learner(this, learner, source, evaluator)
            for source in near_enough(this, sources)
            for learner in this.components.learners
        ]
        return on_first(results.write, this, sources, learned, evaluator)


@contextmanager
def evaluating(
    config: ConfigDict, workdir: Path, profile: bool = False
) -> Iterator[tuple[Run, Evaluator | None]]:
    """The run that a config describes, and the environments that evaluate its policies."""
    run = prepare(config, workdir, profile)
    seeds = range(config.seed, config.seed + config.seeds)
    evaluator = make_evaluator(run.dataset, list(seeds), config.evaluation_episodes, config.seed)
    try:
        yield run, evaluator
    finally:
        if evaluator:
            evaluator.close()


def prepare(config: ConfigDict, workdir: Path, profile: bool = False) -> Run:
    """The run that a config describes, with its data loaded, before anything is trained.

    Raises:
        UserError: the config, the data or the machine is unusable.
    """
    components = _start(config)
    on_first(check_writable, workdir)
    on_first(collect_missing, config.dataset, config.collect_steps)
    mirror = config.d4rl_mirror, config.d4rl_revision
    on_first(fetch_missing, config.dataset, config.download, *mirror)
    dataset = _loaded(config, config.download)
    on_first(_describe, config, workdir)
    if profile:
        print(tracing.explain(workdir), flush=True)
    this = Run(config, components, workdir, dataset, profile)
    own = (config.to_dict(), this.data_stage.fingerprint)
    require(
        not anywhere(own != on_first(lambda: own)),
        "the settings or data of the processes differ: start all with the same flags, and put the "
        f"data set '{dataset.id}' on a shared disk",
    )
    return this


def reopen(workdir: Path) -> Run:
    """A run from its folder, with its data loaded; nothing in the folder changes.

    Raises:
        UserError: this is no folder of a run, its settings are not those of this version, or its
            data set is not on this machine.
    """
    path = workdir / "config.json"
    require(
        path.is_file(),
        f"{workdir} is not the folder of a run: there is no {path}. Name a --workdir of "
        "experiments.main",
    )
    try:
        config = from_json(json.loads(path.read_text()))
    except (ValueError, UserError) as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    components = _start(config)
    return Run(config, components, workdir, _loaded(config, download=False))


def _start(config: ConfigDict) -> Components:
    """The components of a config, after checks of the machine."""
    components = build(config)
    check_switches()
    share_cores(config.seeds)
    check_devices()
    cache_programs()
    return components


def _loaded(config: ConfigDict, download: bool) -> Dataset:
    """The data set of a config, which is described on the terminal."""
    with enough_memory("the number of steps in the data set"):
        dataset = after_first(lambda: load(download=download, **data_settings(config)))
    mark = f" (synthetic: {', '.join(dataset.synthetic)})" if dataset.synthetic else ""
    print(
        f"data: {dataset.id}{mark}, {dataset.transitions} transitions in {len(dataset.lengths)} "
        f"episodes, mean return {dataset.recorded_returns.mean():.1f}, "
        f"return scale {dataset.return_scale:g}",
        flush=True,
    )
    return dataset


def _describe(config: ConfigDict, workdir: Path) -> None:
    """Writes the config and the versions of the run."""
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / "config.json", json.loads(config.to_json_best_effort()))
    write_json(workdir / "versions.json", versions())
