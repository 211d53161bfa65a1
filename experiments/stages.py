"""The results of a run's stages, each under a hash of what it depends on."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orbax.checkpoint as ocp

from dawm_jax import __version__

State = TypeVar("State")


@dataclass(frozen=True)
class Stage:
    """A step of the walk: its settings, and the stages whose results it uses.

    What it makes is found again as long as these are the same, whatever else of a config changes.
    """

    name: str
    settings: Any  # what json can write
    parents: tuple["Stage", ...] = ()

    @property
    def fingerprint(self) -> str:
        """A hash of the settings and of all stages before."""
        parents = [parent.fingerprint for parent in self.parents]
        text = json.dumps([__version__, self.name, self.settings, parents], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def make_folder(self, workdir: Path) -> Path:
        """The folder of the stage's result, which is made if it is not there."""
        path = workdir / "stages" / f"{self.name}-{self.fingerprint}"
        path.mkdir(parents=True, exist_ok=True)
        return path


class Checkpoints:
    """The states of one training stage, with a JSON record of what was measured on the way."""

    def __init__(self, folder: Path):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, cleanup_tmp_directories=True, enable_async_checkpointing=False
        )
        self.manager = ocp.CheckpointManager((folder / "checkpoints").absolute(), options=options)

    def latest(self, template: State) -> tuple[int, State, dict[str, Any]]:
        """The newest step, state and record; without one, 0, `template` and an empty record."""
        step = self.manager.latest_step()
        if step is None:
            return 0, template, {}
        restored = self.manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(template), record=ocp.args.JsonRestore()
            ),
        )
        return step, restored["state"], restored["record"]

    def save(self, step: int, state: Any, record: dict[str, Any]) -> None:
        self.manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
            ),
        )

    def close(self) -> None:
        self.manager.close()


def write_json(path: Path, value: Any) -> None:
    """Writes all of a file or nothing; it holds no NaN, which JSON has not."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes all of a file or nothing."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)
