"""What a run needs of the machine, checked early: devices, memory, a folder to write to."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from dawm_jax.errors import UserError, require


def check_devices() -> None:
    """Raises UserError where JAX finds no device of the platform that is asked for."""
    try:
        jax.devices()
    except Exception as error:  # an AssertionError, for one, without a word
        asked = jax.config.jax_platforms
        jax.config.update("jax_platforms", None)
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        jax.config.update("jax_platforms", asked)
        raise UserError(
            f"JAX_PLATFORMS asks for '{asked}', which JAX does not find on this machine; it finds "
            f"{there}. Unset JAX_PLATFORMS, or install JAX for that device, e.g. with "
            "pip install -e .[cuda12]"
        ) from error


def check_writable(folder: Path) -> None:
    """Raises UserError unless `folder`, or the nearest there is above it, takes a file."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    require(
        there.is_dir(),
        f"nothing can be written to {folder}: {there} is no folder. Give another folder",
    )
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0")
    except OSError as error:
        raise UserError(
            f"nothing can be written to {folder}: {error.strerror}. Give another folder"
        ) from error


@contextmanager
def enough_memory(numbers: str) -> Iterator[None]:
    """Turns the end of memory into a UserError that says which `numbers` of a config to lower."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"out of memory: lower {numbers} ({reason})") from error
        raise
