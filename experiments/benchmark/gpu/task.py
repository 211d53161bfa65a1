"""A whole run of `experiments.main` on data recorded on the spot, as long as the time allows."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawm_jax.errors import UserError
from experiments.benchmark.campaign import matmul_precision
from experiments.benchmark.scope import CPU, SMOKE
from experiments.benchmark.suites.pipeline import CONFIG, timed_run
from experiments.store.files import write_json
from experiments.store.stage import stages_of
from experiments.system.provenance import commit


@dataclass(frozen=True)
class Task:
    """Changes of configs/quickstart.py, for runs with at least so many seconds."""

    seconds: float
    settings: dict[str, Any]


TASKS = (  # the longest first
    Task(
        240,
        {
            "seeds": 4,
            "updates": 50_000,
            "evaluate_every": 25_000,
            "dawm.world_model.steps": 10_000,
            "dawm.inverse_dynamics.steps": 40_000,
            "synthesis.transitions": 1_000_000,
        },
    ),
    Task(150, {}),
    Task(0, {"collect_steps": CPU.recorded_steps, **CPU.run_settings}),
)
SMOKE_TASK = Task(0, {"collect_steps": SMOKE.recorded_steps, **SMOKE.run_settings})


def write_task(out: Path, budget: float, smoke: bool) -> list[str]:
    """Runs the longest task for the `budget` in seconds and writes its file.

    The file also names the stages that the run finished, which are fewer if it has no results.

    Returns:
        What failed: nothing, or why the run has no results.

    Raises:
        TimeoutError: the run was not finished in time.
    """
    task = SMOKE_TASK if smoke else next(task for task in TASKS if task.seconds <= budget)
    results: dict[str, Any] = {
        "config": CONFIG,
        "settings": {**task.settings, "matmul_precision": matmul_precision()},
        "commit": commit(),
        "budget": budget,
        "failed": [],
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-") as parent:
        folder = Path(parent)
        datasets, workdir = folder / "datasets", folder / "run"
        datasets.mkdir()
        settings = [f"--config.{name}={value}" for name, value in task.settings.items()]
        try:
            results["seconds"] = timed_run(settings, datasets, workdir, folder / "xla", budget)
            results["results"] = json.loads((workdir / "results.json").read_text())
        except UserError as error:
            results["failed"].append(str(error))
        except TimeoutError as error:
            results["cut"] = str(error)
            raise
        finally:
            if (workdir / "stages").exists():
                stages = stages_of(workdir)
                results["finished_stages"] = [each.stage for each in stages if each.results()]
            write_json(out, results)
    return results["failed"]
