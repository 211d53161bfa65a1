"""The results of a run's stages, each under a hash of what it depends on."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawm_jax import __version__
from experiments.store.files import locked
from experiments.system.processes import on_first


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

    @contextmanager
    def folder(self, workdir: Path) -> Iterator[Path]:
        """The folder of the stage's result, made if it is not there, for this run alone.

        Raises:
            UserError: another process is at work on the stage.
        """
        path = workdir / "stages" / f"{self.name}-{self.fingerprint}"
        with ExitStack() as stack:

            def hold() -> None:
                path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(path / "lock", f"the stage {self.name}"))

            on_first(hold)
            yield path
