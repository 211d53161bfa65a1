"""The process of one step: `... gpu.worker <step> <file> <budget> <limit> smoke|full`."""

import sys
from pathlib import Path

from absl import logging

from dawm_jax.errors import UserError
from experiments.benchmark.gpu.steps import OUT_OF_TIME, measure_step
from experiments.system import signals


def main(step: str, out: str, budget: str, limit: str, smoke: str) -> None:
    """Measures a step; the last line of the output says why the exit status is not 0.

    It is `OUT_OF_TIME` if the step had not enough time.
    """
    logging.set_verbosity(logging.ERROR)
    with signals.handled():
        try:
            failed = measure_step(step, Path(out), float(budget), float(limit), smoke == "smoke")
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        except TimeoutError as error:
            print(f"{error}\n{str(error).splitlines()[0]}")
            raise SystemExit(OUT_OF_TIME) from None
        except signals.Interrupted as stop:
            raise SystemExit(stop.status) from None
    if failed:
        print(*failed, sep="\n")
        raise SystemExit(f"failed: {'; '.join(each.splitlines()[0] for each in failed)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
