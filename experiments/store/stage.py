"""The stages of a run: what each depends on, and the folder and files of its result."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.store.files import locked
from experiments.system.processes import on_first

LAYOUT = 1  # raised with every change of how stages are trained or stored that changes results


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline: its settings, and the stages whose results it uses.

    A result is found again as long as these are the same, whatever else of a config changes.
    """

    name: str
    settings: Any  # JSON-serializable
    parents: tuple["Stage", ...] = ()

    @property
    def fingerprint(self) -> str:
        """A hash of the settings and of all parents."""
        parents = [parent.fingerprint for parent in self.parents]
        text = json.dumps([LAYOUT, self.name, self.settings, parents], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def folder_name(self) -> str:
        """Of the stage's folder in a run's `stages`."""
        return f"{self.name}-{self.fingerprint}"

    @contextmanager
    def folder(self, workdir: Path) -> Iterator["StageFiles"]:
        """The files of the stage's result, its folder created if missing, for this run alone.

        Raises:
            UserError: another process is working on the stage.
        """
        found = self.files(workdir)
        with ExitStack() as stack:

            def hold() -> None:
                found.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(found.path / "lock", f"the stage {self.name}"))

            on_first(hold)
            yield found

    def files(self, workdir: Path) -> "StageFiles":
        """The files of the stage's result, which need not exist."""
        return StageFiles(workdir / "stages" / self.folder_name)


@dataclass(frozen=True)
class StageFiles:
    """The names of the files in a stage's folder."""

    path: Path

    @property
    def stage(self) -> str:
        """The stage's name, without its fingerprint."""
        return self.path.name.rpartition("-")[0]

    @property
    def checkpoints(self) -> Path:
        """The last states, a folder."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The best state, a folder."""
        return self.path / "best"

    @property
    def curve(self) -> Path:
        """The evaluations during training."""
        return self.path / "curve.json"

    @property
    def record(self) -> Path:
        """The facts about a result that is not trained."""
        return self.path / "record.json"

    @property
    def transitions(self) -> Path:
        """The synthetic transitions."""
        return self.path / "transitions.npz"

    @property
    def episodes(self) -> Path:
        """Synthetic episodes."""
        return self.path / "episodes.npy"

    @property
    def parts(self) -> Path:
        """Synthetic transitions or episodes that are not joined yet, a folder."""
        return self.path / "parts"

    def results(self) -> list[Path]:
        """The files of a finished stage that exist; checkpoints apart."""
        return [path for path in (self.curve, self.transitions, self.record) if path.exists()]


def stages_of(workdir: Path) -> list[StageFiles]:
    """The stages with a folder in a run's folder."""
    return [StageFiles(path) for path in sorted((workdir / "stages").iterdir())]


def identity(settings: Any) -> Any:
    """What tells one component from another: class, declared version and settings, for JSON.

    Two classes with equal fields differ, and so do two versions of a class.
    """
    if is_dataclass(settings) and not isinstance(settings, type):
        kind = type(settings)
        return {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "version": getattr(kind, "version", None),
            "settings": {f.name: identity(getattr(settings, f.name)) for f in fields(settings)},
        }
    if isinstance(settings, tuple):
        return [identity(part) for part in settings]
    return settings


def digest(tree: Any) -> str:
    """A hash of a pytree: its structure, with the fields that are no arrays, and its arrays."""
    leaves, structure = jax.tree.flatten(tree)
    hashed = hashlib.sha256(str(structure).encode())
    for leaf in leaves:
        array = np.ascontiguousarray(leaf)
        hashed.update(f"{array.dtype}{array.shape}".encode())
        hashed.update(array.data)
    return hashed.hexdigest()
