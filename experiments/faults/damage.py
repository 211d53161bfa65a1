"""Random damage to the files of a run, and full disks."""

import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from experiments.store.files import seal_of
from experiments.store.stage import StageFiles, stages_of


@dataclass(frozen=True)
class SealedFile:
    """A sealed file of a stage, a file in a sealed folder, or the seal of either."""

    stage: StageFiles
    sealed: Path  # the file or folder that has a seal
    path: Path

    @property
    def is_seal(self) -> bool:
        return self.path == seal_of(self.sealed)

    @property
    def name(self) -> str:
        """The name in the seal and in messages."""
        return self.path.relative_to(self.sealed.parent).as_posix()


def newest_files(workdir: Path) -> list[SealedFile]:
    """The files from which a finished run is restored, and their seals."""
    found = []
    for stage in stages_of(workdir):
        for sealed in [*stage.results(), *_checkpoints(stage)[-1:]]:
            paths = [path for path in [sealed, *sealed.rglob("*")] if path.is_file()]
            found += [SealedFile(stage, sealed, path) for path in [*paths, seal_of(sealed)]]
    return sorted(found, key=lambda file: file.path)


def finished_parts(workdir: Path) -> list[SealedFile]:
    """The sealed parts of synthetic transitions that an unfinished run has written so far."""
    try:
        stages = stages_of(workdir)
    except FileNotFoundError:  # the run has no stage yet
        return []
    return [SealedFile(stage, path, path) for stage in stages for path in _sealed(stage.parts)]


def damage_one(files: Sequence[SealedFile], rng: random.Random) -> tuple[str, SealedFile]:
    """Flips a random bit of a random file, truncates or deletes it; returns which, and the file.

    Seals are never deleted: a file without one counts as unfinished, not as damaged.
    """
    file = rng.choice([file for file in files if file.path.stat().st_size > 0])
    content = bytearray(file.path.read_bytes())
    how = rng.choice(("flipped", "cut") if file.is_seal else ("flipped", "cut", "deleted"))
    if how == "flipped":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.path.write_bytes(content)
    elif how == "cut":
        file.path.write_bytes(content[: rng.randrange(len(content))])
    else:
        file.path.unlink()
    return how, file


def damage_all_checkpoints(workdir: Path, rng: random.Random) -> StageFiles:
    """Empties the largest file of every checkpoint of a random stage; returns the stage."""
    stage = rng.choice([stage for stage in stages_of(workdir) if stage.checkpoints.exists()])
    for checkpoint in _checkpoints(stage):
        files = [path for path in checkpoint.rglob("*") if path.is_file()]
        max(files, key=lambda path: path.stat().st_size).write_bytes(b"")
    return stage


def _checkpoints(stage: StageFiles) -> list[Path]:
    """The folders of a stage's checkpoints, oldest first; each is named by its update."""
    return sorted(_sealed(stage.checkpoints), key=lambda path: int(path.name))


def _sealed(folder: Path) -> list[Path]:
    """The files and folders in `folder` that have a seal."""
    paths = sorted(folder.iterdir()) if folder.exists() else []
    return [path for path in paths if seal_of(path).exists()]


@contextmanager
def small_disk(folder: Path, free: int) -> Iterator[Path]:
    """A disk of 64 MiB in memory, mounted at `folder`, with `free` bytes available.

    Yields:
        A file that uses up the rest of the disk; delete it to free that space.

    Raises:
        PermissionError: this user may not mount a disk.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise PermissionError("mounting a small disk needs root; skip full disks with --disks=0")
    try:
        filler = folder / "filler"
        with filler.open("wb") as file:
            file.write(bytes((64 << 20) - free))
        yield filler
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def size_of(folder: Path) -> int:
    """The bytes in the files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
