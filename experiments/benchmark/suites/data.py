"""Minari data in HDF5: the first and the second load, indexing, transfer to the device."""

import shutil
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import jax
import numpy as np

import dawm_jax
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.types import Dataset
from experiments.benchmark.cases import (
    DAWM_JAX,
    FIRST_LOAD,
    SECOND_LOAD,
    Case,
    Group,
    Groups,
    timed,
)
from experiments.benchmark.random_data import DATASET, environment, write_random_dataset
from experiments.benchmark.roofline import rooflines
from experiments.benchmark.scope import Options

HORIZON = 8


def groups(options: Options) -> Groups:
    """One group for each number of episodes."""
    transitions = options.scope.transitions
    for episodes in options.scope.episodes:
        settings = {"transitions": transitions, "episodes": episodes}
        prepare = partial(_cases, transitions, episodes, options)
        yield Group("data", "data", settings, prepare, compared=False)


def _cases(transitions: int, episodes: int, options: Options, stack: ExitStack) -> list[Case]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
    first, second = load_cases(folder, transitions, episodes)
    dataset = _load(folder / "again")
    host = jax.device_get(dataset.episodes)
    size = float(sum(leaf.nbytes for leaf in jax.tree.leaves(host)))
    index = Case(
        by=DAWM_JAX,
        work={"transitions": transitions},
        call=timed(lambda: (WindowSet.of(dataset, HORIZON), to_transitions(dataset))),
        settings={"what": "index: windows and transitions"},
    )
    transfer = Case(
        by=DAWM_JAX,
        work={"transitions": transitions, "bytes": size},
        call=timed(lambda: jax.device_put(jax.tree.map(np.copy, host))),
        settings={"what": "transfer: a copy on the host, then to the device"},
        traffic=2 * size,
    )
    return [second, first, index, transfer, *rooflines(options.scope, copy=True)]


def load_cases(folder: Path, transitions: int, episodes: int) -> tuple[Case, Case]:
    """`dawm_jax.load` of a new copy of a data set, and of one that was loaded before.

    The files of both are in the operating system's page cache.
    """
    original = folder / "original"
    write_random_dataset(original, transitions, episodes)
    shutil.copytree(original, folder / "again")
    _load(folder / "again")

    def load_copy(count: int) -> float:
        seconds = 0.0
        for _ in range(count):
            with tempfile.TemporaryDirectory(dir=folder) as parent:
                root = Path(parent) / "datasets"
                shutil.copytree(original, root)
                started = time.perf_counter()
                _load(root)
                seconds += time.perf_counter() - started
        return seconds

    work = {"transitions": transitions}
    first = Case(DAWM_JAX, work, load_copy, {"what": FIRST_LOAD}, warm_up=False)
    again = timed(partial(_load, folder / "again"))
    return first, Case(DAWM_JAX, work, again, {"what": SECOND_LOAD})


def _load(root: Path) -> Dataset:
    """Loads the data set below `root` onto the device; its cache is next to `root`."""
    with environment(MINARI_DATASETS_PATH=str(root), XDG_CACHE_HOME=str(root.parent / "cache")):
        dataset = dawm_jax.load(DATASET)
    jax.block_until_ready(dataset.episodes)
    return dataset
