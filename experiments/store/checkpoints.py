"""Checkpoints of a training stage: states sealed with checksums, each with a record.

A state is loaded onto the devices of its template, whatever devices saved it.
"""

from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from dawm_jax.errors import require
from experiments.store import files
from experiments.system.processes import on_first

SEAL = ".sha256"


class Checkpoints:
    """The last `keep` states of a stage in one folder, by number of updates.

    A step without a seal is unfinished or half deleted, and ignored.
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
        """The newest undamaged step; damaged ones after it are reported and deleted."""
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
            print(f"{self.stage}: no undamaged step is left in {self.path.name}", flush=True)
        return None

    def load(self, step: int, template: Any = None) -> Any:
        """The state of a step, with the structure of `template` (default: nested dicts).

        Leaves without a sharding in the template go to one device.
        """
        return _restore(self.orbax, self._folder(step), template)

    def record(self, step: int) -> dict[str, Any]:
        """The record of a step."""
        items = ocp.args.Composite(record=ocp.args.JsonRestore())
        return self.orbax.restore(self._folder(step), args=items)["record"]

    def save(self, step: int, state: Any, record: dict[str, Any]) -> None:
        """Saves and seals a step, then deletes surplus ones."""
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


def read_last(folder: Path, stage: str, template: Any = None) -> tuple[int, Any]:
    """The number of updates and the state of the last finished step; changes nothing on disk.

    Args:
        template: see `Checkpoints.load`.

    Raises:
        UserError: there is none, or it is damaged.
    """
    steps = [int(seal.stem) for seal in folder.glob(f"*{SEAL}")]
    require(bool(steps), f"{stage} has no trained state: {folder} is missing or empty")
    path = folder.absolute() / str(max(steps))
    damage = files.damage(path)
    require(
        damage is None,
        f"{stage}: in {folder}, {damage}: run experiments.main again, which trains on from an "
        "undamaged state",
    )
    with closing(ocp.Checkpointer(ocp.CompositeCheckpointHandler())) as orbax:
        return max(steps), _restore(orbax, path, template)


def _restore(orbax: ocp.Checkpointer, path: Path, template: Any) -> Any:
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def placed(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or one)

    # The fallback replaces devices that saved the step and no longer exist.
    restore = ocp.args.StandardRestore(jax.tree.map(placed, template), fallback_sharding=one)
    return orbax.restore(path, args=ocp.args.Composite(state=restore))["state"]
