import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from dawm_jax.errors import UserError
from experiments.stages.generate import generate
from experiments.stages.learn import train_learner
from experiments.stages.measure import measure_rollouts
from experiments.stages.models import train_model
from experiments.system.machine import (
    CACHED,
    cache_programs,
    check_devices,
    check_writable,
    enough_memory,
    pool_memory,
)


def test_a_missing_device_is_reported_with_the_available_ones(monkeypatch):
    """As JAX does with JAX_PLATFORMS=cuda on a machine without a GPU."""
    found = jax.devices()

    def devices():
        if jax.config.jax_platforms == "cuda":
            raise AssertionError
        return found

    check_devices()
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "cuda")
    monkeypatch.setattr(jax, "devices", devices)
    try:
        with pytest.raises(UserError, match=rf"is 'cuda', .* only {found[0].platform} on .*\. Un"):
            check_devices()
        assert jax.config.jax_platforms == "cuda"
    finally:
        jax.config.update("jax_platforms", before)


def test_nothing_is_cached_for_a_user_without_a_home(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        cache_programs()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_folder_is_checked_without_a_trace(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_rejected(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "astray").symlink_to(tmp_path / "nowhere")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "astray"):
        with pytest.raises(UserError, match=f"cannot write to {folder}: .* not a folder"):
            check_writable(folder)


def test_a_folder_without_write_permission_is_rejected(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"cannot write to .*new: Permission denied"):
        check_writable(tmp_path / "new")


def test_an_out_of_memory_error_says_what_to_lower():
    with pytest.raises(UserError, match=r"out of memory: lower the chunk \(JaxRuntimeError: RES"):  # noqa: SIM117
        with enough_memory("the chunk"):
            jnp.zeros((1 << 20, 1 << 20)).block_until_ready()
    with pytest.raises(UserError, match="lower the chunk"), enough_memory("the chunk"):
        raise MemoryError
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), enough_memory("the chunk"):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


class Full:
    """A run, or a part of one, whose every use takes too much memory."""

    def __getattr__(self, name):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")


@pytest.mark.parametrize(
    ("stage", "arguments", "message"),
    [
        (train_model, ("world_model", Full(), Full()), "the batch_size or .* of world_model"),
        (generate, (Full(),) * 3, "synthesis.chunk"),
        (measure_rollouts, ("dawm", Full(), {}), "fidelity.windows"),
        (train_learner, (Full(),) * 3, "seeds"),
    ],
)
def test_every_stage_says_what_to_lower(stage, arguments, message):
    with pytest.raises(UserError, match=f"out of memory: lower {message}"):
        stage(Full(), *arguments)


def test_the_memory_for_the_pool_is_given_or_a_share_of_the_available_memory(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 6000}

    assert pool_memory(1.5) == 3 * 2**29
    if jax.default_backend() == "cpu":
        with Path("/proc/meminfo").open() as about:
            kilobytes = int(about.readline().split()[1])
        assert pool_memory(None) == kilobytes * 1024 // 4
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert pool_memory(None) == 3000


def test_compiled_programs_are_cached_unless_jax_has_its_own_cache(tmp_path, monkeypatch):
    names = ["jax_compilation_cache_dir", *CACHED]
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        cache_programs()
        assert {name: getattr(jax.config, name) for name in names} == before
        for name in CACHED:
            monkeypatch.delenv(name.upper())
        cache_programs()
        assert {name: getattr(jax.config, name) for name in CACHED} == CACHED
        assert jax.config.jax_compilation_cache_dir == before["jax_compilation_cache_dir"]
        jax.config.update("jax_compilation_cache_dir", None)
        cache_programs()
        kept = Path(jax.config.jax_compilation_cache_dir)
        assert kept.parent == tmp_path / "dawm_jax" / "compiled"
        assert kept.name.startswith(platform.machine())
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@pytest.mark.parametrize(
    ("seeds", "of", "flags", "devices", "trained_on"),
    [
        (4, 2, "", 2, (None, 2)),
        (4, 3, "", 2, (None, 2)),
        (3, 2, "", 1, (None, None)),
        (6, 64, "", 6, (None, 6)),
        (1, 64, "", 1, (None, None)),
        (4, 2, "--xla_force_host_platform_device_count=4", 4, (None, 4)),
    ],
)
def test_seeds_are_split_over_cores(seeds, of, flags, devices, trained_on):
    """In a separate process, because JAX configures its devices only once."""
    program = f"""
import jax
from experiments.system import machine
machine.cores = lambda: set(range({of}))
machine.share_cores({seeds})
meshes = [machine.training_mesh(None), machine.training_mesh({seeds})]
machine.share_cores({2 * seeds})  # too late: nothing changes
print(jax.device_count(), *(mesh and mesh.shape["seed"] for mesh in meshes))
"""
    environment = {**os.environ, "XLA_FLAGS": flags}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == [str(devices), *map(str, trained_on)]
