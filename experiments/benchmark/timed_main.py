"""`experiments.main` in a process that tells how long it compiled, and when it first trained.

python -m experiments.benchmark.timed_main told.json --config=...
"""

import json
import runpy
import sys
import time
from pathlib import Path

from jax import monitoring

COMPILING = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",  # or the time to find it in the cache
)


def main() -> None:
    """Writes the file named first; the other arguments are those of experiments.main."""
    told = Path(sys.argv.pop(1))
    facts = {"compiling": 0.0}

    def on_event(event: str, seconds: float, **_: object) -> None:
        if event in COMPILING:
            facts["compiling"] += seconds

    monitoring.register_event_duration_secs_listener(on_event)
    from experiments.store.metrics import (
        StageMetrics,  # what each chunk of training steps is told to
    )

    write = StageMetrics.write

    def noted(self: StageMetrics, *arguments: object) -> None:
        facts.setdefault("first step", time.time())
        write(self, *arguments)

    StageMetrics.write = noted
    try:
        runpy.run_module("experiments.main", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    told.write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
