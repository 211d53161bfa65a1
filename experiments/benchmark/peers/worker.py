"""A process that does a peer's work when it is told to. It runs in the peers' environment.

The first line of its input is the job, in JSON; each "go N" after it asks for the work N times. An
answer is a line of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO


def make(kind: str, **job: Any) -> Callable[[], None]:
    """The work of a kind, to be called again and again; it returns when it is done."""
    if kind in ("td3bc", "iql"):
        from experiments.benchmark.peers.d3rlpy_learners import updates

        return updates(kind, **job)
    from experiments.benchmark.peers import torch_world_model

    return getattr(torch_world_model, kind)(**job)


def serve(lines: TextIO, answers: TextIO) -> None:
    """Answers until the input ends."""

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        job = json.loads(lines.readline())
        import torch

        torch.set_num_threads(job.pop("threads"))
        work = make(**job)
        answer({"ready": torch.__version__})
        for line in lines:
            started = time.perf_counter()
            for _ in range(int(line.split()[1])):
                work()
            answer({"seconds": time.perf_counter() - started})
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    serve(sys.stdin, channel)
