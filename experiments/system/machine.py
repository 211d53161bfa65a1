"""The machine: devices, memory, cache and writable folders, checked early."""

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax

from dawm_jax.errors import UserError, require
from dawm_jax.training.devices import Mesh, device_mesh

CACHED = {  # the compile time and size from which a program is cached: all of them
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
SWITCHES = {  # of JAX, with the values that the programs are written for
    "jax_enable_x64": (False,),
    "jax_disable_jit": (False,),
    "jax_numpy_dtype_promotion": ("standard",),
    "jax_numpy_rank_promotion": ("allow", "warn"),
}


def cores() -> set[int]:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def share_cores(seeds: int) -> None:
    """Makes JAX use CPU cores as devices, as many as evenly divide `seeds`.

    One core per seed beats all cores on one small matrix product at a time (docs/limits.md).
    Nothing changes if the user sets the number, in several processes, or once JAX is in use.
    """
    set_by_user = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if set_by_user or _setting("jax_num_cpu_devices") >= 0 or jax.distributed.is_initialized():
        return
    with suppress(RuntimeError):  # already in use
        most = min(len(cores()), seeds)
        devices = max(n for n in range(1, most + 1) if seeds % n == 0)
        jax.config.update("jax_num_cpu_devices", devices)


def training_mesh(seeds: int | None) -> Mesh | None:
    """The devices that train together: all of them; on one CPU only if there are seeds.

    A CPU's cores share a single model's work in any case.
    """
    processor = jax.default_backend() == "cpu" and jax.process_count() == 1
    return None if processor and seeds is None else device_mesh(seeds or 1)


def check_switches() -> None:
    """Raises UserError if a switch of JAX is set that changes what programs compute."""
    for name, usual in SWITCHES.items():
        found = _setting(name)
        require(
            found in usual,
            f"{name.upper()} is {found!r}; this package computes in float32 under JAX's usual "
            f"rules: unset it, or set it to {usual[0]!r}",
        )


def check_devices() -> None:
    """Raises UserError if JAX finds no device of the requested platform."""
    try:
        jax.devices()
    except Exception as error:  # for example a bare AssertionError
        requested = _setting("jax_platforms")
        jax.config.update("jax_platforms", None)
        found = ", ".join(sorted({device.platform for device in jax.devices()}))
        jax.config.update("jax_platforms", requested)
        raise UserError(
            f"JAX_PLATFORMS is '{requested}', but JAX finds only {found} on this machine. Unset "
            "JAX_PLATFORMS, or install JAX for that device, e.g. with pip install -e .[cuda12]"
        ) from error


def check_writable(folder: Path) -> None:
    """Raises UserError unless `folder`, or its nearest existing parent, is writable."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    require(
        there.is_dir(),
        f"cannot write to {folder}: {there} is not a folder. Choose another folder",
    )
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0")
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}. Choose another folder"
        ) from error


def cache_programs() -> None:
    """Makes JAX cache all compiled programs for later runs, in the user's cache folder.

    JAX_COMPILATION_CACHE_DIR, JAX_ENABLE_COMPILATION_CACHE and JAX's variables for the smallest
    program to cache take precedence.
    """
    for name, least in CACHED.items():
        if name.upper() not in os.environ:
            jax.config.update(name, least)
    if _setting("jax_compilation_cache_dir") is None:
        try:
            caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:  # no HOME, and a user whom the system does not know
            return
        folder = caches / "dawm_jax" / "compiled" / _processor()
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _setting(name: str) -> Any:
    """The value of a JAX setting, of which type stubs know only some."""
    return getattr(jax.config, name)


def _processor() -> str:
    """A name for the instruction set of compiled programs: machines may share the folder."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else [platform.processor()]
    described = sorted({line for line in lines if line.lower().startswith(("flags", "features"))})
    digest = hashlib.sha256("".join(described).encode()).hexdigest()[:8]
    return f"{platform.machine()}-{digest}"


def pool_memory(gib: float | None) -> int:
    """Bytes of device memory for synthetic transitions; more of them stay on disk.

    They are `gib`, or half of the device's memory; on a CPU, a quarter of the machine's.
    """
    if gib is not None:
        return int(gib * 2**30)
    about = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if about and "bytes_limit" in about:
        return about["bytes_limit"] // 2
    return machine_bytes() // 4


def machine_bytes() -> int:
    """All of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def enough_memory(settings: str) -> Iterator[None]:
    """Turns out-of-memory errors into a UserError that names the `settings` to lower."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"out of memory: lower {settings} ({reason})") from error
        raise
