"""Runs `experiments.main` and records its compilation time and the time of its first training step.

python -m experiments.benchmark.timed_main times.json --config=...
"""

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

from jax import monitoring

COMPILATION = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",  # includes reads from the compilation cache
)


def main() -> None:
    """Writes times to the file that is the first argument; experiments.main gets the others."""
    file = Path(sys.argv.pop(1))
    times = {"compiling": 0.0}  # seconds

    def on_duration(event: str, duration_secs: float, **_: str | int) -> None:
        if event in COMPILATION:
            times["compiling"] += duration_secs

    monitoring.register_event_duration_secs_listener(on_duration)
    # Each chunk of training steps writes its metrics.
    from experiments.store.metrics import StageMetrics

    write = StageMetrics.write

    def timed_write(self: StageMetrics, step: int, metrics: dict[str, Any]) -> None:
        times.setdefault("first step", time.time())
        write(self, step, metrics)

    with mock.patch.object(StageMetrics, "write", timed_write):
        try:
            runpy.run_module("experiments.main", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise
    file.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
