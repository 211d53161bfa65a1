"""A whole run of `experiments.main` in a process of its own, compilation cache empty or warm."""

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
from experiments.benchmark.cases import DAWM_JAX, FIRST_STEP, Call, Case, Group, Groups
from experiments.benchmark.random_data import environment
from experiments.benchmark.scope import Options
from experiments.simulation.recording import collect

ROOT = Path(__file__).parents[3]
CONFIG = "experiments/configs/quickstart.py"


def groups(options: Options) -> Groups:
    """One group: a run with an empty compilation cache, then one with the cache it leaves."""
    yield Group("pipeline", "quickstart, shortened", {}, partial(_cases, options), compared=False)


def _cases(options: Options, stack: ExitStack) -> list[Case]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
    datasets, cache = folder / "datasets", folder / "xla"
    with environment(MINARI_DATASETS_PATH=str(datasets)):
        datasets.mkdir()
        collect("Hopper-v5", "medium", options.scope.recorded_steps)
    settings = [f"--config.collect_steps={options.scope.recorded_steps}"]
    settings += [f"--config.{name}={value}" for name, value in options.scope.run_settings.items()]

    def run(empty_cache: bool) -> dict[str, float]:
        if empty_cache:
            shutil.rmtree(cache, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder) as parent:
            return timed_run(settings, datasets, Path(parent) / "run", cache)

    return [*_run_cases("cold", partial(run, True)), *_run_cases("warm", partial(run, False))]


def _run_cases(cache: str, run: Callable[[], dict[str, float]]) -> list[Case]:
    """A whole run, and parts of that same run, which are reported right after it."""
    last: dict[str, float] = {}

    def whole(count: int) -> float:
        last.update(run())
        return last["whole"]

    def case(what: str, call: Call, part_of: Case | None = None) -> Case:
        settings = {"what": what, "compilation cache": cache}
        return Case(DAWM_JAX, {"runs": 1}, call, settings, warm_up=False, part_of=part_of)

    whole_run = case("whole run", whole)
    return [
        whole_run,
        case(FIRST_STEP, lambda count: last["first step"], whole_run),
        case("lowering and compiling", lambda count: last["compiling"], whole_run),
    ]


def timed_run(
    settings: list[str], datasets: Path, workdir: Path, cache: Path, limit: float | None = None
) -> dict[str, float]:
    """The seconds of a run: "whole", to its "first step" of training, and "compiling".

    Raises:
        UserError: the run failed; the message contains the end of its output.
        TimeoutError: it took more than `limit` seconds; likewise.
    """
    times_file = workdir.with_name("times.json")
    command = [sys.executable, "-m", "experiments.benchmark.timed_main", str(times_file)]
    variables = {
        "MINARI_DATASETS_PATH": str(datasets),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    arguments = [f"--config={ROOT / CONFIG}", f"--workdir={workdir}", *settings]
    log = workdir.with_name("log.txt")
    started = time.time()
    with log.open("w") as output:
        try:
            process = subprocess.run(
                [*command, *arguments],
                env={**os.environ, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"experiments.main took more than {limit:.0f} s; its output ends with:\n"
                f"{log.read_text()[-1000:]}"
            ) from None
    whole = time.time() - started
    if process.returncode != 0:
        raise UserError(
            f"experiments.main failed with status {process.returncode}; its output ends with:\n"
            f"{log.read_text()[-1000:]}"
        )
    times = json.loads(times_file.read_text())
    return {
        "whole": whole,
        "first step": times["first step"] - started,
        "compiling": times["compiling"],
    }
