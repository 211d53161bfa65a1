"""Peers at work in a process of their own, for cases that are measured in turn with dawm_jax."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax

from dawm_jax.errors import UserError
from dawm_jax.models.window_diffusion import WorldModel
from experiments.benchmark.cases import Case
from experiments.benchmark.peers.environment import interpreter
from experiments.benchmark.random_data import ACTION, OBSERVATION
from experiments.system.machine import cores

ROOT = Path(__file__).parents[3]
MODULE = "experiments.benchmark.peers.worker"


class Worker:
    """A worker process; it is idle between requests."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process

    def request(self, line: str) -> dict[str, Any]:
        """Sends a line and returns the reply.

        Raises:
            UserError: the worker failed.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        text = self.process.stdout.readline()
        reply = json.loads(text) if text else {"error": "it ended without a reply"}
        if "error" in reply:
            raise UserError(f"a peer's process failed: {reply['error']}")
        return reply

    def work(self, count: int) -> float:
        """Does the work `count` times and returns the seconds that takes."""
        return self.request(f"work {count}")["seconds"]


@contextmanager
def running_worker(environment: Path, job: dict[str, Any]) -> Iterator[Worker]:
    """A worker that is ready for `job`; it ends with the block.

    Raises:
        UserError: the worker failed to prepare the job.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [interpreter(environment), "-m", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=variables,
    )
    try:
        worker = Worker(process)
        device = "cpu" if jax.default_backend() == "cpu" else "cuda"
        worker.request(json.dumps({"threads": len(cores()), "device": device, **job}))
        yield worker
    finally:
        process.kill()
        process.communicate()


def peer_case(
    stack: ExitStack,
    environment: Path,
    by: str,
    job: dict[str, Any],
    work: Mapping[str, float],
    **details: Any,
) -> Case:
    """A case that a worker runs; the worker ends with the stack. `details` are fields of `Case`."""
    worker = stack.enter_context(running_worker(environment, job))
    return Case(by=by, work=work, call=worker.work, process=worker.process.pid, **details)


def world_model_job(model: WorldModel) -> dict[str, Any]:
    """The part of a worker's job that describes a world model."""
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
