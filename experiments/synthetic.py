"""Synthetic episodes of a finished run, written for other libraries."""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from dawm_jax.data.formats.minari_files import folder_of
from dawm_jax.errors import require, require_choice
from dawm_jax.export import d3rlpy, d4rl, npz
from dawm_jax.export.card import card
from dawm_jax.export.minari import write
from dawm_jax.export.rows import EpisodeRows
from dawm_jax.settings import Count, check_value
from dawm_jax.sources import RolloutSource
from experiments import pipeline
from experiments.reporting.synthetic import about, fidelity_text
from experiments.run.context import Run
from experiments.stages.episodes import chain
from experiments.stages.models import find_models
from experiments.store import new_data_set, new_file
from experiments.system.disk_errors import disk_errors_explained

FORMATS = ("minari", "npz", "d4rl", "d3rlpy")


@dataclass(frozen=True)
class Target:
    """Where episodes are written, and as what."""

    format: str
    id: str | None
    file: Path | None
    overwrite: bool

    @property
    def name(self) -> str:
        return self.id or (self.file.name if self.file else "")

    def check(self) -> None:
        """Raises UserError unless the target can be written."""
        flag, other = ("id", "file") if self.format == "minari" else ("file", "id")
        require(
            getattr(self, flag) is not None and getattr(self, other) is None,
            f"--format={self.format} needs --{flag}, without --{other}",
        )
        if self.id:
            new_data_set.check_new(self.id, self.overwrite)
        elif self.file:
            new_file.check_new(self.file, self.overwrite)


def synthesize(
    workdir: Path,
    target: Target,
    source_name: str = "dawm",
    transitions: int = 1_000_000,
    steps: int | None = None,
    chunk: int | None = None,
) -> dict[str, Any]:
    """Writes episodes of a run's source; returns what they say of themselves.

    Args:
        transitions: at least so many, in whole episodes.
        steps: of an episode that does not end before (default: `fidelity.steps` of the run).
        chunk: rollouts in one call (default: the run's).

    Raises:
        UserError: the target exists, the run has no trained model of the source, the source has no
            rollouts of several steps, or the disk is full. Finished parts remain.
    """
    check_value("transitions", transitions, Count)
    target.check()
    with disk_errors_explained(workdir):
        run = pipeline.reopen(workdir)
        require_choice("source of this run", source_name, run.components.sources)
        source = run.components.sources[source_name]
        require(
            isinstance(source, RolloutSource) and source.steps > 1,
            f"the source '{source_name}' has no rollouts of at least two steps, which episodes "
            "are chained from: name another --source",
        )
        assert isinstance(source, RolloutSource)
        trained = find_models(run, source)
        length = steps or run.components.fidelity.steps
        rows, facts = chain(run, source_name, source, trained, transitions, length, chunk)
        synthetic = about(run, source_name, source, length, facts)
    _write(run, rows, target, synthetic)
    return synthetic


def _write(run: Run, rows: EpisodeRows, target: Target, synthetic: dict[str, Any]) -> None:
    """Writes the episodes, and their card beside them."""
    text, note = card(target.name, synthetic, fidelity_text(synthetic)), json.dumps(synthetic)
    if target.id:
        with new_data_set.new_data_set(target.id, target.overwrite):
            _write_minari(run, rows, target.id, synthetic, text)
        return
    assert target.file
    beside = target.file.with_name(f"{target.file.name}.README.md")
    with ExitStack() as stack:
        path = stack.enter_context(new_file.new_file(target.file, target.overwrite))
        stack.enter_context(new_file.new_file(beside, overwrite=True)).write_text(text)
        match target.format:
            case "npz":
                npz.write(path, rows)
            case "d4rl":
                d4rl.write(path, rows, note)
            case "d3rlpy":
                d3rlpy.write(path, rows, note)


def _write_minari(
    run: Run, rows: EpisodeRows, dataset_id: str, synthetic: dict[str, Any], text: str
) -> None:
    dataset, state = run.dataset, rows.kind["observation"]
    new_data_set.reserve(rows.steps * rows.kind.itemsize, synthetic["episodes"])
    write(
        dataset_id,
        rows.episodes(),
        environment=dataset.environment,
        evaluation_environment=dataset.evaluation_environment,
        spaces=(
            Box(-np.inf, np.inf, state.shape, state.base.type),
            Box(dataset.action_low, dataset.action_high, dtype=np.float32),
        ),
        reference_scores=dataset.reference_scores,
        algorithm_name=f"synthetic: {synthetic['source']} of {synthetic['generator']}",
        description=(
            f"Synthetic data of the source {synthetic['source']}, trained on "
            f"{synthetic['recorded']}; no environment was stepped. See README.md."
        ),
        synthetic=synthetic,
    )
    (folder_of(dataset_id) / "README.md").write_text(text)
