"""--profile: a trace of a few steps of each stage, for Perfetto and for XProf.

Traced steps are extra and dropped: the results of a run do not change.
"""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import jax

from dawm_jax.errors import NonFiniteError
from dawm_jax.training.devices import Mesh
from dawm_jax.training.feeding import Streamed
from dawm_jax.training.loop import train
from dawm_jax.training.protocol import Component, Data
from dawm_jax.types import Array
from experiments.system.processes import is_first

CALLS = 5  # of a component's update


def folder_of(workdir: Path) -> Path:
    """Where the traces of a run are, each in a folder with the name of its stage."""
    return workdir / "profile"


def explain(workdir: Path) -> str:
    """How to look at the traces of a run."""
    folder = folder_of(workdir)
    return (
        f"profile: a trace of each stage goes to {folder}; open a perfetto_trace.json.gz at "
        f"https://ui.perfetto.dev, or all with: pip install xprof && xprof --logdir={folder}"
    )


def trace(workdir: Path, name: str, what: str, call: Callable[[], object]) -> None:
    """Writes a trace of the second call of `call`; the first one compiles.

    All processes call it, and the first writes a trace of its own devices.

    Args:
        name: the name of the stage.
        what: the content of the trace, in words.
        call: returns when its results are ready.
    """
    folder = folder_of(workdir) / name
    call()
    with jax.profiler.trace(folder, create_perfetto_trace=True) if is_first() else nullcontext():
        call()
    print(f"{name}: a trace of {what} is in {folder}", flush=True)


def trace_updates(
    workdir: Path,
    name: str,
    component: Component,
    state: Any,
    data: Data | Streamed,
    key: Array,
    *,
    seeds: bool,
    mesh: Mesh | None,
) -> None:
    """Writes a trace of up to `CALLS` calls of a component's update, in one compiled chunk.

    They start from `state`, which stays valid; the other arguments are those of `train`.
    """
    calls = component.steps // component.updates_per_step
    fitting = [n for n in range(1, CALLS + 1) if calls % n == 0 and n < calls]
    if not fitting:
        print(f"{name}: too few updates to trace", flush=True)
        return
    updates = max(fitting) * component.updates_per_step
    chunks = train(component, state, data, key, chunk=updates, seeds=seeds, mesh=mesh)
    with suppress(NonFiniteError):  # the stage itself will report it
        trace(workdir, name, f"{updates} updates", lambda: jax.block_until_ready(next(chunks)))
