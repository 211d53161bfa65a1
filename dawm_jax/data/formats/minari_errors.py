"""What is wrong with a data set that cannot be read, and what to do about it."""

import json
from pathlib import Path

from dawm_jax.errors import DatasetError

POINTER = b"version https://git-lfs"


def unreadable(dataset_id: str, folder: Path, error: Exception) -> DatasetError:
    """A DatasetError for the `error` that reading the data set in `folder` raised.

    It advises to delete files only where the error proves that they are damaged.
    """
    return DatasetError(f"Data set '{dataset_id}' cannot be read: {_explained(folder, error)}")


def _explained(folder: Path, error: Exception) -> str:
    what = first_line(error)
    pointers = [path.name for path in _files(folder) if _starts_with(path, POINTER)]
    if pointers:
        return (
            f"{pointers[0]} is a git-LFS pointer, not the file itself. "
            f"Fetch the files: git -C {folder} lfs pull"
        )
    if isinstance(error, ImportError):
        return f"{what}. Install or upgrade what is missing: pip install -U 'minari[all]'"
    if "does not support the dataset" in what:
        return f"{what}. Install the Minari that wrote it, or a newer one: pip install -U minari"
    if any(name in str(error) for name in ("EnvSpec", "WrapperSpec")):
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        needed = ", ".join(_requirements(folder)) or "the gymnasium that it was recorded with"
        return f"this gymnasium cannot read its environment ({first_line(cause)}). Install {needed}"
    damaged = isinstance(error, OSError | KeyError | EOFError | UnicodeDecodeError)
    if isinstance(error, PermissionError):
        return f"{what}. Make the files in {folder} readable"
    if damaged or isinstance(error, json.JSONDecodeError) or "No data found" in what:
        return f"{what}. Remove its folder, {folder}, then download or record it again"
    return f"{what}. If its files are damaged, download or record it again; they are in {folder}"


def first_line(error: Exception) -> str:
    """The type and the first line of an error, shortened."""
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(" .")[:200]


def _files(folder: Path) -> list[Path]:
    data = folder / "data"
    return sorted(path for path in data.glob("*") if path.is_file()) if data.is_dir() else []


def _starts_with(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def _requirements(folder: Path) -> list[str]:
    """The packages that the data set's metadata ask for."""
    try:
        metadata = json.loads((folder / "data" / "metadata.json").read_text())
        return [str(requirement) for requirement in metadata.get("requirements", [])]
    except (OSError, ValueError, AttributeError, TypeError):
        return []
