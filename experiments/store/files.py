"""Durable files: written atomically, sealed with checksums, locked."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from dawm_jax.errors import UserError

PATIENCE = 10.0  # seconds to wait for another process, which may only be reading


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which replaces `path` at the end unless there is an error."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically; NaN, which JSON lacks, is refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_sealed_json(path: Path, value: Any) -> None:
    """Writes a JSON file and its seal; a previous one is removed first."""
    remove(path)
    write_json(path, value)
    seal(path)


def write_text(path: Path, text: str) -> None:
    """Writes a file atomically."""
    with atomic(path) as partial:
        partial.write_text(text)


def append_line(path: Path, line: str) -> None:
    """Appends a line, after dropping an unfinished one that a killed process left."""
    with path.open("a+b") as file:
        file.seek(0)
        lines = file.read() if _is_cut(path) else b""
        if lines:
            file.truncate(lines.rfind(b"\n") + 1)
        file.write(line.encode() + b"\n")


def _is_cut(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Locks `what` for the block; the lock ends with the process, too.

    Raises:
        UserError: another process holds the lock for more than `PATIENCE` seconds.
    """
    deadline = monotonic() + PATIENCE
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > deadline:
                    raise UserError(
                        f"another process is working on {what} ({path}): wait until it ends, then "
                        "run the same command, which will find the result"
                    ) from None
                sleep(0.05)
        yield


def seal(path: Path) -> None:
    """Writes the checksums of `path`, a file or a folder, beside it, in the format of sha256sum.

    A path without this seal counts as unfinished.
    """
    write_text(seal_of(path), "".join(f"{d}  {n}\n" for n, d in _digests(path).items()))


def seal_of(path: Path) -> Path:
    """The path of the seal of `path`."""
    return path.with_name(f"{path.name}.sha256")


def damage(path: Path) -> str | None:
    """What differs in a sealed path, named relative to its parent; None if nothing does."""
    text = seal_of(path).read_text(errors="replace")
    sealed = {name: digest for digest, _, name in (s.partition("  ") for s in text.splitlines())}
    found = _digests(path)
    for name in sorted(sealed.keys() | found.keys()):
        if name not in found:
            return f"'{name}' is missing"
        if name not in sealed:
            return f"'{name}' has no checksum in {seal_of(path).name}"
        if sealed[name] != found[name]:
            return f"'{name}' differs from its checksum"
    return None


def sound(path: Path, owner: str) -> bool:
    """Whether a file is finished and undamaged; a damaged one is reported and deleted."""
    if not seal_of(path).exists():
        return False
    wrong = damage(path)
    if wrong:
        print(f"{owner}: {wrong}; it will be recreated", flush=True)
        remove(path)
    return wrong is None


def remove(path: Path) -> None:
    """Deletes a file or a folder, its seal first: a half-deleted path has none."""
    seal_of(path).unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _digests(path: Path) -> dict[str, str]:
    """The sha256 of a file, or of every file in a folder, by path relative to the parent."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        file.relative_to(path.parent).as_posix(): _digest(file) for file in files if file.is_file()
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
