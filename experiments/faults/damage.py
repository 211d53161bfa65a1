"""Files damaged at random, and disks filled."""

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.store.files import seal_of


def newest_files(workdir: Path) -> list[Path]:
    """The files that a finished run is restored from, and their seals."""
    found = []
    for stage in sorted((workdir / "stages").iterdir()):
        sealed = [stage / name for name in ("curve.json", "transitions.npz", "record.json")]
        steps = [int(seal.stem) for seal in (stage / "checkpoints").glob("*.sha256")]
        if steps:
            sealed.append(stage / "checkpoints" / str(max(steps)))
        for path in sealed:
            if path.exists():
                files = [file for file in path.rglob("*") if file.is_file()]
                found += [*(files if path.is_dir() else [path]), seal_of(path)]
    return sorted(found)


def damage_one(files: list[Path], rng: random.Random) -> tuple[str, Path]:
    """Flips a random bit of a random one of `files`, cuts it, or deletes it; says which.

    A seal is not deleted: what has none is unfinished, not damaged.
    """
    path = rng.choice([file for file in files if file.stat().st_size > 0])
    content = bytearray(path.read_bytes())
    how = rng.choice(("flipped", "cut") if path.suffix == ".sha256" else ("flipped", "cut", "gone"))
    if how == "flipped":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    else:
        path.unlink()
    return how, path


def empty_steps(workdir: Path, rng: random.Random) -> Path:
    """Empties a file of every step of one stage; returns the stage's folder."""
    stages = [path for path in (workdir / "stages").iterdir() if (path / "checkpoints").exists()]
    stage = rng.choice(sorted(stages))
    for seal in (stage / "checkpoints").glob("*.sha256"):
        (seal.with_suffix("") / "_CHECKPOINT_METADATA").write_text("")
    return stage


@contextmanager
def small_disk(folder: Path, free: int) -> Iterator[Path]:
    """A disk in memory at `folder`, nearly full: the file it gives, deleted, makes space.

    Raises:
        PermissionError: this user may not mount one.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise PermissionError("mounting a small disk needs root; --disks=0 leaves that out")
    try:
        filler = folder / "filler"
        with filler.open("wb") as file:
            file.write(bytes((64 << 20) - free))
        yield filler
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def size_of(folder: Path) -> int:
    """Bytes in the files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
