"""A peer at work in a process of its own, measured in turn with ours."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax

from dawm_jax.errors import UserError
from dawm_jax.models.window_diffusion import WorldModel
from experiments.benchmark.cases import Case
from experiments.benchmark.peers.environment import python_of
from experiments.benchmark.random_data import ACTION, OBSERVATION
from experiments.system.machine import cores

ROOT = Path(__file__).parents[3]
MODULE = "experiments.benchmark.peers.worker"


class Worker:
    """A started worker. Between requests it waits for a line, and its threads are idle."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process

    def ask(self, line: str) -> dict[str, Any]:
        """Its answer to a line.

        Raises:
            UserError: it failed.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        answer = json.loads(reply) if reply else {"error": "it ended without a word"}
        if "error" in answer:
            raise UserError(f"a peer's process failed: {answer['error']}")
        return answer

    def go(self, count: int) -> float:
        """Does its work so many times; returns the seconds that this took."""
        return self.ask(f"go {count}")["seconds"]


@contextmanager
def started(environment: Path, job: dict[str, Any]) -> Iterator[Worker]:
    """A worker that is ready for `job`; it ends with the block.

    Raises:
        UserError: it cannot do it.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [python_of(environment), "-m", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=variables,
    )
    try:
        worker = Worker(process)
        device = "cpu" if jax.default_backend() == "cpu" else "cuda"
        worker.ask(json.dumps({"threads": len(cores()), "device": device, **job}))
        yield worker
    finally:
        process.kill()
        process.communicate()


def peer(
    stack: ExitStack,
    environment: Path,
    by: str,
    job: dict[str, Any],
    work: dict[str, float],
    **costs: Any,
) -> Case:
    """The case of a worker that lives as long as the stack."""
    worker = stack.enter_context(started(environment, job))
    return Case(by=by, work=work, call=worker.go, process=worker.process.pid, **costs)


def world_model_job(model: WorldModel) -> dict[str, Any]:
    """What a worker is told of a world model."""
    return {
        "horizon": model.horizon,
        "observation": OBSERVATION,
        "action": ACTION,
        "width": model.width,
        "multipliers": model.multipliers,
        "parameterization": model.parameterization,
        "state_input": model.observation_target != "absolute",
        "diffusion_steps": model.diffusion_steps,
        "condition_dropout": model.condition_dropout,
        "learning_rate": model.learning_rate,
        "ema_decay": model.ema_decay,
        "ema_every": model.ema_every,
    }
