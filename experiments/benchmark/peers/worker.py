"""A process that does a peer's work on request. It runs in the peers' environment.

The first line of its input is the job, in JSON; each line "work N" after it requests the work N
times. Each reply is a line of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO


def create_work(kind: str, **job: Any) -> Callable[[], None]:
    """A function that does the work of a kind once and returns when it is done."""
    if kind in ("td3bc", "iql"):
        from experiments.benchmark.peers.d3rlpy_learners import learner_updates

        return learner_updates(kind, **job)
    from experiments.benchmark.peers import torch_world_model

    return getattr(torch_world_model, kind)(**job)


def serve(requests: TextIO, replies: TextIO) -> None:
    """Replies to requests until the input ends."""

    def reply(value: dict[str, Any]) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    try:
        job = json.loads(requests.readline())
        import torch

        torch.set_num_threads(job.pop("threads"))
        work = create_work(**job)
        reply({"ready": torch.__version__})
        for line in requests:
            started = time.perf_counter()
            for _ in range(int(line.split()[1])):
                work()
            reply({"seconds": time.perf_counter() - started})
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries goes to stderr
    serve(sys.stdin, channel)
