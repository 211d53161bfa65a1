"""A whole run by `experiments.main`, in a process of its own, with and without cached programs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from dawm_jax.errors import UserError
from experiments.benchmark.cases import FIRST_STEP, OURS, Case, Group, Groups
from experiments.benchmark.random_data import environment
from experiments.benchmark.scope import Options
from experiments.simulation.recording import collect

ROOT = Path(__file__).parents[3]
CONFIG = "experiments/configs/quickstart.py"


def groups(options: Options) -> Groups:
    """One: a run with an empty compilation cache, and one with that which the former leaves."""
    yield Group("pipeline", "quickstart, shortened", {}, partial(_prepare, options), compared=False)


def _prepare(options: Options, stack: ExitStack) -> list[Case]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
    datasets, cache = folder / "datasets", folder / "xla"
    with environment(MINARI_DATASETS_PATH=str(datasets)):
        datasets.mkdir()
        collect("Hopper-v5", "medium", options.scope.collected)
    settings = [f"--config.collect_steps={options.scope.collected}"]
    settings += [f"--config.{name}={value}" for name, value in options.scope.run.items()]

    def run(emptied: bool) -> dict[str, float]:
        if emptied:
            shutil.rmtree(cache, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            return timed_run(settings, datasets, Path(fresh) / "run", cache)

    return [*_cases("cold", partial(run, True)), *_cases("warm", partial(run, False))]


def _cases(cache: str, run: Callable[[], dict[str, float]]) -> list[Case]:
    """A whole run, and parts of that same run, which are measured right after it."""
    last: dict[str, float] = {}

    def whole(count: int) -> float:
        last.update(run())
        return last["whole"]

    def case(what: str, call: Callable[[int], float], part_of: Case | None = None) -> Case:
        settings = {"what": what, "compilation cache": cache}
        return Case(OURS, {"runs": 1}, call, settings, warm_up=False, part_of=part_of)

    all_of_it = case("whole run", whole)
    return [
        all_of_it,
        case(FIRST_STEP, lambda count: last["first step"], all_of_it),
        case("lowering and compiling", lambda count: last["compiling"], all_of_it),
    ]


def timed_run(settings: list[str], datasets: Path, workdir: Path, cache: Path) -> dict[str, float]:
    """Seconds of a run: as a whole, to the end of its first compiled training steps, compiling.

    Raises:
        UserError: it failed; the message is the end of what it printed.
    """
    told = workdir.with_name("told.json")
    command = [sys.executable, "-m", "experiments.benchmark.timed_main", str(told)]
    variables = {
        "MINARI_DATASETS_PATH": str(datasets),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    arguments = [f"--config={ROOT / CONFIG}", f"--workdir={workdir}", *settings]
    log = workdir.with_name("log.txt")
    started = time.time()
    with log.open("w") as output:
        process = subprocess.run(
            [*command, *arguments],
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    whole = time.time() - started
    if process.returncode != 0:
        raise UserError(f"experiments.main failed in the benchmark: {log.read_text()[-1000:]}")
    facts = json.loads(told.read_text())
    return {
        "whole": whole,
        "first step": facts["first step"] - started,
        "compiling": facts["compiling"],
    }
