"""What a run needs of the machine, checked early: devices, memory, a folder to write to."""

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jax

from dawm_jax.errors import UserError, require
from dawm_jax.training.devices import Mesh, device_mesh
from dawm_jax.training.memory import machine_bytes

KEPT = {  # from how long to compile, and from which size on, a program is kept: all of them
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def cores() -> set[int]:
    """The numbers of the processor's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def share_cores(seeds: int) -> None:
    """Has JAX take cores of the processor for devices, as many as `seeds` are split over evenly.

    A core for each seed beats all of them for one small product at a time (docs/limits.md). Nothing
    changes where the user says how many, in several processes, or once JAX is in use.
    """
    said = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if said or jax.config.jax_num_cpu_devices >= 0 or jax.distributed.is_initialized():
        return
    with suppress(RuntimeError):  # it is in use
        most = min(len(cores()), seeds)
        devices = max(n for n in range(1, most + 1) if seeds % n == 0)
        jax.config.update("jax_num_cpu_devices", devices)


def training_mesh(seeds: int | None) -> Mesh | None:
    """The devices that train together: all of them, but of one processor's only for seeds.

    Its cores share what a single model is made of, and work on it together anyhow.
    """
    processor = jax.default_backend() == "cpu" and jax.process_count() == 1
    return None if processor and seeds is None else device_mesh(seeds or 1)


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


def keep_compiled() -> None:
    """Has JAX keep all that it compiles for later runs, in the user's cache folder.

    Unless JAX_COMPILATION_CACHE_DIR names another, or JAX_ENABLE_COMPILATION_CACHE is false. What
    JAX's variables say of the least worth keeping holds.
    """
    for name, least in KEPT.items():
        if name.upper() not in os.environ:
            jax.config.update(name, least)
    if jax.config.jax_compilation_cache_dir is None:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = caches / "dawm_jax" / "compiled" / _processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _processor() -> str:
    """Names the instructions that programs are compiled for: machines may share the folder."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else [platform.processor()]
    described = sorted({line for line in lines if line.lower().startswith(("flags", "features"))})
    digest = hashlib.sha256("".join(described).encode()).hexdigest()[:8]
    return f"{platform.machine()}-{digest}"


def pool_memory(gib: float | None) -> int:
    """Bytes of a device's memory for generated transitions; beyond them, they stay on disk.

    They are `gib`, or half of what the device has; on a CPU, a quarter of the machine's memory.
    """
    if gib is not None:
        return int(gib * 2**30)
    about = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if about and "bytes_limit" in about:
        return about["bytes_limit"] // 2
    return machine_bytes() // 4


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
