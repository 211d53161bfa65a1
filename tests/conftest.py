import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from dawm_jax.networks import backend
from experiments.simulation.recording import collect


@pytest.hookimpl(wrapper=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Keeps each file on one worker, and all files that use the finished run on the same one.

    These take longest and come first.
    """
    sharing = {item.path for item in items if "finished" in getattr(item, "fixturenames", ())}
    for item in items:
        group = "finished" if item.path in sharing else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.path not in sharing)
    return (yield)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs that several tests or processes build are compiled once, for this session."""
    for name, value in {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("xla")),
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the programs that tests start


def optimize(yes: bool) -> None:
    """Whether programs are optimized: without, they compile in a quarter of the time."""
    jax.config.update("jax_disable_most_optimizations", not yes)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(not yes))
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def quick_to_compile() -> None:
    """Of the session, as fixtures of the session are made before those of a module."""
    optimize(False)


@pytest.fixture(scope="module", autouse=True)
def optimized(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiles as users' programs in modules marked `optimized`."""
    marked = request.node.get_closest_marker("optimized") is not None
    if marked:
        optimize(True)
    yield
    if marked:
        optimize(False)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The id of a small recorded data set in its own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("minari")))
        yield collect("Hopper-v5", "medium-replay", 1_600, seed=1)


@pytest.fixture
def run_on_eight_devices() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the tests of a file in a process with eight simulated devices."""
    fast = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    flags = f"--xla_force_host_platform_device_count=8 {fast}"

    def run(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-n0", *options, str(path)]
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


@pytest.fixture
def narrow_up_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Sets the size up to which a window is narrow, and clears the traced programs."""

    def narrow_up_to(numbers: int) -> None:
        monkeypatch.setattr(backend, "NARROW", numbers)
        jax.clear_caches()

    yield narrow_up_to
    jax.clear_caches()
