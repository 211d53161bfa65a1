"""The walk of a run: data -> sources -> learners x seeds -> evaluation -> report.

Each stage keeps its result in the run's folder (see stages.py) and finds it there again.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dawm_jax.data.formats.minari import load
from dawm_jax.errors import require, require_choice
from experiments.reporting import results as report
from experiments.run.config import build, names
from experiments.run.context import Run
from experiments.simulation.evaluator import make_evaluator
from experiments.simulation.recording import collect_missing
from experiments.stages.learn import train_learner
from experiments.stages.sources import SOURCES
from experiments.store.files import write_json
from experiments.system import tracing as profiling
from experiments.system.disk_errors import disk_errors_explained
from experiments.system.machine import (
    check_devices,
    check_writable,
    enough_memory,
    keep_compiled,
    share_cores,
)
from experiments.system.processes import after_first, anywhere, on_first
from experiments.system.provenance import versions


def run(config: ConfigDict, workdir: Path, profile: bool = False) -> dict[str, Any]:
    """Everything a config asks for; returns what results.json holds.

    Args:
        profile: whether each stage writes a trace, see profiling.py.

    Raises:
        UserError: the config, the data or the machine cannot be used, which is found before any
            training; or memory, the disk, an environment or the numbers fail on the way. What is
            finished stays.
    """
    with disk_errors_explained(workdir), ExitStack() as stack:
        this = prepare(config, workdir, profile)
        seeds = range(config.seed, config.seed + config.seeds)
        episodes = config.evaluation_episodes
        evaluator = make_evaluator(this.dataset, list(seeds), episodes, config.seed)
        if evaluator:
            stack.callback(evaluator.close)
        sources = {name: SOURCES[name](this) for name in names(config.sources)}
        learned = [
            train_learner(this, learner, source, sources[source], evaluator)
            for source in sources
            for learner in this.components.learners
        ]
        return on_first(report.write, this, sources, learned, evaluator)


def prepare(config: ConfigDict, workdir: Path, profile: bool = False) -> Run:
    """The run that a config describes, with its data, before anything is trained.

    Raises:
        UserError: the config, the data or the machine cannot be used.
    """
    components = build(config)
    for name in names(config.sources):
        require_choice("source", name, SOURCES)
    require(bool(names(config.sources)), "config.sources is empty; name at least one source")
    share_cores(config.seeds)
    check_devices()
    keep_compiled()
    on_first(check_writable, workdir)
    on_first(collect_missing, config.dataset, config.collect_steps)
    with enough_memory("the number of steps in the data set"):
        dataset = after_first(
            lambda: load(
                config.dataset,
                discount=config.discount,
                return_scale=config.return_scale,
                download=config.download,
            )
        )
    print(
        f"data: {dataset.id}, {dataset.transitions} transitions in {len(dataset.lengths)} "
        f"episodes, mean return {dataset.returns.mean():.1f}, "
        f"return scale {dataset.return_scale:g}",
        flush=True,
    )
    on_first(_describe, config, workdir)
    if profile:
        print(profiling.explain(workdir), flush=True)
    this = Run(config, components, workdir, dataset, profile)
    own = (config.to_dict(), this.data_stage.fingerprint)
    require(
        not anywhere(own != on_first(lambda: own)),
        "the processes have other settings or data than the first: give all the same flags, and "
        f"the data set '{dataset.id}' on a disk that they share",
    )
    return this


def _describe(config: ConfigDict, workdir: Path) -> None:
    """Writes what the run is and what it runs on."""
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / "config.json", json.loads(config.to_json_best_effort()))
    write_json(workdir / "versions.json", versions())
