"""A Minari data set in HDF5: to the device, once and again; its index; the transfer alone."""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import jax
import numpy as np

import dawm_jax
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.types import Dataset
from experiments.benchmark.cases import FIRST_LOAD, OURS, SECOND_LOAD, Case, Group, Groups, blocking
from experiments.benchmark.random_data import DATASET, environment, write_random_dataset
from experiments.benchmark.roof import roofs
from experiments.benchmark.scope import Options

HORIZON = 8


def groups(options: Options) -> Groups:
    """One for each number of episodes."""
    transitions = options.scope.transitions
    for episodes in options.scope.episodes:
        settings = {"transitions": transitions, "episodes": episodes}
        yield Group(
            "data",
            "data",
            settings,
            partial(_prepare, transitions, episodes, options),
            compared=False,
        )


def _prepare(transitions: int, episodes: int, options: Options, stack: ExitStack) -> list[Case]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
    first, second = load_cases(folder, transitions, episodes)
    dataset = _load(folder / "again")
    host = jax.device_get(dataset.episodes)
    size = float(sum(leaf.nbytes for leaf in jax.tree.leaves(host)))
    index = Case(
        by=OURS,
        work={"transitions": transitions},
        call=blocking(lambda: (WindowSet.of(dataset, HORIZON), to_transitions(dataset))),
        settings={"what": "index: windows and transitions"},
    )
    transfer = Case(
        by=OURS,
        work={"transitions": transitions, "bytes": size},
        call=blocking(lambda: jax.device_put(jax.tree.map(np.copy, host))),
        settings={"what": "transfer: a copy on the host, then to the device"},
        moved=2 * size,
    )
    return [second, first, index, transfer, *roofs(options.scope, copy=True)]


def load_cases(folder: Path, transitions: int, episodes: int) -> tuple[Case, Case]:
    """`dawm_jax.load` of a copy that it never saw, and of one that it loaded before.

    The files of both are in the system's cache of files.
    """
    pristine = folder / "pristine"
    write_random_dataset(pristine, transitions, episodes)
    shutil.copytree(pristine, folder / "again")
    _load(folder / "again")

    def load_copy(count: int) -> float:
        seconds = 0.0
        for _ in range(count):
            with tempfile.TemporaryDirectory(dir=folder) as fresh:
                root = Path(fresh) / "datasets"
                shutil.copytree(pristine, root)
                seconds += _timed(partial(_load, root))
        return seconds

    work = {"transitions": transitions}
    first = Case(OURS, work, load_copy, {"what": FIRST_LOAD}, warm_up=False)
    again = blocking(partial(_load, folder / "again"))
    return first, Case(OURS, work, again, {"what": SECOND_LOAD})


def _timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _load(root: Path) -> Dataset:
    """The data set in that folder, once it is on the device; caches go beside it."""
    with environment(MINARI_DATASETS_PATH=str(root), XDG_CACHE_HOME=str(root.parent / "cache")):
        dataset = dawm_jax.load(DATASET)
    jax.block_until_ready(dataset.episodes)
    return dataset
