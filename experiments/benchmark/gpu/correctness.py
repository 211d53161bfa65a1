"""The same computations on the CPU and on the default device, at two precisions of products."""

import os
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dawm_jax.errors import UserError
from experiments.benchmark.campaign import header, matmul_precision, unfinished
from experiments.benchmark.gpu.checks import Check, checks
from experiments.benchmark.table import largest_error
from experiments.store.files import write_json

HIGHEST = "highest"  # float32 products without rounded factors
MOST_THREADS = 8  # that compile at the same time


def write_correctness(size: str, hidden: tuple[int, ...], out: Path) -> list[str]:
    """Compares the default device with the CPU, writes the result file, returns what failed.

    Each check updates a file with -unfinished in its name, which becomes the result file.

    Raises:
        UserError: JAX has no CPU backend beside the accelerator's.
    """
    processor = reference_device()
    results: dict[str, Any] = {**header({"size": size, "hidden": hidden}), "checks": []}
    with jax.default_device(processor):  # the checks prepare their inputs there
        for row in compared(checks(size, hidden), processor):
            results["checks"].append(row)
            results["failed"] = [each["check"] for each in results["checks"] if not each["passed"]]
            write_json(unfinished(out), results)
            print(describe(row), flush=True)
    unfinished(out).replace(out)
    return results["failed"]


def reference_device() -> jax.Device:
    """The CPU.

    Raises:
        UserError: JAX_PLATFORMS leaves it out.
    """
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise UserError(
            f"JAX has no CPU backend to compute references on, with JAX_PLATFORMS "
            f"'{os.environ.get('JAX_PLATFORMS', '')}': unset it, or append ',cpu'"
        ) from error


def compared(checks: Iterable[Check], processor: jax.Device) -> Iterator[dict[str, Any]]:
    """A row for each check: relative errors by precision and output, the bound, `passed`.

    The inputs come from the CPU. Programs of several checks are compiled at the same time. Without
    an accelerator, whose precision could differ, results are compared with themselves.
    """
    device = jax.local_devices()[0]
    pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
    started: deque[tuple[Check, Future[Any], dict[str, Future[Any]]]] = deque()
    try:
        for check in checks:
            reference = pool.submit(outputs, check, processor, HIGHEST)
            results = dict.fromkeys((HIGHEST, "default"), reference)
            if device != processor:
                results = {
                    HIGHEST: pool.submit(outputs, check, device, HIGHEST),
                    "default": pool.submit(outputs, check, device, None),
                }
            started.append((check, reference, results))
            while started and all(one.done() for one in started[0][2].values()):
                yield _row(*started.popleft())
        while started:
            yield _row(*started.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def outputs(check: Check, device: jax.Device, precision: str | None) -> dict[str, Any]:
    """What a check computes on a device; None is the precision that JAX is configured with."""
    chosen: AbstractContextManager[Any] = nullcontext()
    if precision:
        chosen = jax.default_matmul_precision(precision)
    with jax.default_device(device), chosen:
        inputs = jax.device_put(check.inputs, device)
        return jax.device_get(jax.jit(lambda *inputs: check.function(*inputs))(*inputs))


def _row(check: Check, reference: Future[Any], results: dict[str, Future[Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "check": check.name,
        "bound": check.bound,
        "configured": matmul_precision(),
        "errors": {},
        "passed": False,
    }
    try:
        expected = reference.result()
        for precision, found in results.items():
            row["errors"][precision] = relative_errors(found.result(), expected)
    except Exception as error:
        traceback.print_exc()
        return {**row, "raised": f"{type(error).__name__}: {error}"}
    errors = row["errors"][HIGHEST].values()
    return {**row, "passed": all(e is not None and e <= check.bound for e in errors)}


def relative_errors(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float | None]:
    """|found - expected| / |expected| of each pytree, in L2 norm; None if it is not finite."""
    errors = {}
    for name, tree in expected.items():
        pairs = zip(jax.tree.leaves(found[name]), jax.tree.leaves(tree), strict=True)
        squares = [(_square(a - b), _square(b)) for a, b in pairs]
        difference, scale = np.sqrt(np.sum(squares, axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            error = float(np.divide(difference, scale)) if difference else 0.0
        errors[name] = error if np.isfinite(error) else None
    return errors


def _square(leaf: Any) -> float:
    return float(np.sum(np.square(leaf, dtype=np.float64)))


def describe(row: dict[str, Any]) -> str:
    """A row in one line."""
    shown = [f"{each} {largest_error(row, each):.1e}" for each in row["errors"]]
    verdict = "passed" if row["passed"] else f"FAILED {row.get('raised', '')}".strip()
    return f"{row['check']}: {verdict}, bound {row['bound']:.0e}, {', '.join(shown)}"
