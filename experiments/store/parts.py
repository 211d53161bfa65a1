"""Sealed files that hold consecutive pieces of a result, so that none is made twice.

A part is named by the number of its first piece and the one after its last.
"""

from collections.abc import Iterator
from pathlib import Path

from experiments.store import files


def path_of(folder: Path, first: int, end: int) -> Path:
    """The file of the pieces `first` to `end` - 1."""
    return folder / f"{first:09}-{end:09}.npz"


def end_of(part: Path) -> int:
    """The number of the piece after the last one of a part."""
    return int(part.stem.split("-")[1])


def sound_end(folder: Path, owner: str) -> int:
    """The number of pieces in the sound parts; those after a damaged one are deleted."""
    folder.mkdir(exist_ok=True)
    sound = list(_sound(folder, owner))
    for other in set(folder.glob("*.npz")) - set(sound):
        files.remove(other)
    return end_of(sound[-1]) if sound else 0


def _sound(folder: Path, owner: str) -> Iterator[Path]:
    """The parts from the first piece on, up to the first that is missing or damaged."""
    end = 0
    for seal in sorted(folder.glob("*.npz.sha256")):  # which a lost part still has
        path = seal.with_suffix("")
        if path.name.startswith(f"{end:09}-") and files.sound(path, owner):
            yield path
            end = end_of(path)
