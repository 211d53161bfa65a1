"""The states of a training stage on disk, each sealed with checksums, with a record beside it.

A state is loaded onto the devices of its template, however many it was saved from.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from experiments.store import files
from experiments.system.processes import on_first

SEAL = ".sha256"


class Checkpoints:
    """The last `keep` states of a stage, in a folder of their own, by the number of updates.

    A step without a seal was not finished, or is half deleted, and counts for nothing.
    """

    def __init__(self, folder: Path, stage: str, keep: int):
        self.path = folder.absolute()
        self.stage = stage
        self.keep = keep
        self.orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
        on_first(self._clean_up)

    def _clean_up(self) -> None:
        self.path.mkdir(exist_ok=True)
        for entry in list(self.path.iterdir()):
            if entry.suffix != SEAL and not files.seal_of(entry).exists():
                files.remove(entry)

    def steps(self) -> list[int]:
        """The finished steps, oldest first."""
        return sorted(int(seal.stem) for seal in self.path.glob(f"*{SEAL}"))

    def newest(self) -> int | None:
        """The newest step that is as it was written; any after it is named and deleted."""
        return on_first(self._newest)

    def _newest(self) -> int | None:
        found = self.steps()
        for step in reversed(found):
            damage = files.damage(self._folder(step))
            if damage is None:
                return step
            files.remove(self._folder(step))
            print(
                f"{self.stage}: in {self.path.name}, {damage}: step {step} is deleted", flush=True
            )
        if found:
            print(f"{self.stage}: no step is left in {self.path.name}", flush=True)
        return None

    def load(self, step: int, template: Any = None) -> Any:
        """The state of a step, in the form of `template`, or without one as nested dicts.

        What the template does not place is on one device, whatever it was saved from.
        """
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

        def placed(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or one)

        # The fallback is for devices that the step was saved from and that are not there.
        restore = ocp.args.StandardRestore(jax.tree.map(placed, template), fallback_sharding=one)
        wanted = ocp.args.Composite(state=restore)
        return self.orbax.restore(self._folder(step), args=wanted)["state"]

    def record(self, step: int) -> dict[str, Any]:
        """What was saved beside the state of a step."""
        wanted = ocp.args.Composite(record=ocp.args.JsonRestore())
        return self.orbax.restore(self._folder(step), args=wanted)["record"]

    def save(self, step: int, state: Any, record: dict[str, Any]) -> None:
        """Saves and seals a step, then deletes those that are too many."""
        folder = self._folder(step)
        on_first(files.remove, folder)
        saved = ocp.args.Composite(
            state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
        )
        self.orbax.save(folder, args=saved)  # returns when all processes have written
        on_first(self._finish, step)

    def _finish(self, step: int) -> None:
        files.seal(self._folder(step))
        others = [other for other in self.steps() if other != step]
        for old in others[: max(len(others) - self.keep + 1, 0)]:
            files.remove(self._folder(old))

    def close(self) -> None:
        self.orbax.close()

    def _folder(self, step: int) -> Path:
        return self.path / str(step)
