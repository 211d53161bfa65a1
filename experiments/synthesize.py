"""Writes synthetic episodes of a finished run as a data set for any library.

    python -m experiments.synthesize --run=runs/hopper --transitions=5_000_000 \
        --id=dawm/hopper/medium-v0

writes a Minari data set. --format=npz, d4rl or d3rlpy with --file=PATH writes one file. The
episodes stay in the run's folder, so that another format takes seconds. Details: docs/export.md.
"""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags, logging

from experiments.system.messages import ends_with_a_message

if TYPE_CHECKING:
    from dawm_jax.export.rows import EpisodeRows
    from experiments.run.context import Run

FORMATS = ("minari", "npz", "d4rl", "d3rlpy")
RUN = flags.DEFINE_string("run", None, "Folder of a finished run.", required=True)
SOURCE = flags.DEFINE_string("source", "dawm", "The source that generates, by its name.")
TRANSITIONS = flags.DEFINE_integer(
    "transitions", 1_000_000, "At least so many, in whole episodes.", 1, 1_000_000_000
)
EPISODE_STEPS = flags.DEFINE_integer(
    "episode_steps", None, "Steps of an episode; as many as the run's fidelity unless given.", 2
)
FORMAT = flags.DEFINE_enum("format", "minari", FORMATS, "What is written.")
ID = flags.DEFINE_string("id", None, "Id of the Minari data set, such as dawm/hopper/medium-v0.")
FILE = flags.DEFINE_string("file", None, "The file of another format.")
CHUNK = flags.DEFINE_integer("chunk", None, "Rollouts in one call; the run's unless given.", 1)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a data set or file of this name.")


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
        from dawm_jax.errors import require
        from experiments.store import new_data_set, new_file

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
    from dawm_jax.errors import require, require_choice
    from dawm_jax.settings import Count, check_value
    from dawm_jax.sources import RolloutSource
    from experiments import pipeline
    from experiments.reporting.synthetic import about
    from experiments.stages.episodes import chain
    from experiments.stages.models import find_models
    from experiments.system.disk_errors import disk_errors_explained

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


def _write(run: "Run", rows: "EpisodeRows", target: Target, synthetic: dict[str, Any]) -> None:
    """Writes the episodes, and their card beside them."""
    from dawm_jax.export import d3rlpy, d4rl, npz
    from dawm_jax.export.card import card
    from experiments.reporting.synthetic import fidelity_text
    from experiments.store.new_data_set import new_data_set
    from experiments.store.new_file import new_file

    text, note = card(target.name, synthetic, fidelity_text(synthetic)), json.dumps(synthetic)
    if target.id:
        with new_data_set(target.id, target.overwrite):
            _write_minari(run, rows, target.id, synthetic, text)
        return
    assert target.file
    beside = target.file.with_name(f"{target.file.name}.README.md")
    with ExitStack() as stack:
        path = stack.enter_context(new_file(target.file, target.overwrite))
        stack.enter_context(new_file(beside, overwrite=True)).write_text(text)
        match target.format:
            case "npz":
                npz.write(path, rows)
            case "d4rl":
                d4rl.write(path, rows, note)
            case "d3rlpy":
                d3rlpy.write(path, rows, note)


def _write_minari(
    run: "Run", rows: "EpisodeRows", dataset_id: str, synthetic: dict[str, Any], text: str
) -> None:
    import numpy as np
    from gymnasium.spaces import Box

    from dawm_jax.data.formats.minari_files import folder_of
    from dawm_jax.export.minari import write
    from experiments.store.new_data_set import reserve

    dataset, state = run.dataset, rows.kind["observation"]
    reserve(rows.steps * rows.kind.itemsize, synthetic["episodes"])
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


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.FATAL)  # libraries also log the errors that they raise
    with ends_with_a_message("stopped: finished parts are kept; run the same command to resume"):
        file = Path(FILE.value).expanduser() if FILE.value else None
        target = Target(FORMAT.value, ID.value, file, OVERWRITE.value)
        settings = SOURCE.value, TRANSITIONS.value, EPISODE_STEPS.value, CHUNK.value
        synthetic = synthesize(Path(RUN.value).expanduser(), target, *settings)
    print(
        f"wrote {target.name}: {synthetic['transitions']} synthetic transitions in "
        f"{synthetic['episodes']} episodes, mean return {synthetic['return_mean']:.1f}"
    )


if __name__ == "__main__":
    app.run(main)
