"""New files for users, which appear only when they are complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dawm_jax.errors import require
from experiments.store.files import atomic
from experiments.system.disk_errors import disk_errors_explained
from experiments.system.machine import check_writable


def check_new(path: Path, overwrite: bool) -> None:
    """Raises UserError unless the file can be written: it exists, or its folder is not writable."""
    require(not path.is_dir(), f"{path} is a folder: name a file")
    require(overwrite or not path.exists(), f"{path} already exists; replace it with --overwrite")
    check_writable(path.parent)


@contextmanager
def new_file(path: Path, overwrite: bool) -> Iterator[Path]:
    """Yields a temporary path, which becomes `path` at the end unless there is an error."""
    check_new(path, overwrite)
    with disk_errors_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as partial:
            yield partial
