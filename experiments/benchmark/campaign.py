"""Runs the benchmark: measures the selected groups of each suite and writes the result file."""

import gc
import platform
import re
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from dawm_jax.errors import UserError, require, require_choice
from experiments.benchmark.cases import Group
from experiments.benchmark.measure import Report, measure
from experiments.benchmark.peers.environment import find_peers
from experiments.benchmark.peers.same_function import check_same_function
from experiments.benchmark.scope import Options
from experiments.benchmark.sizes import SIZES
from experiments.benchmark.suites import SUITES
from experiments.benchmark.suites.scale import exponent
from experiments.benchmark.table import tables
from experiments.store.files import write_json
from experiments.system.machine import cores, enough_memory
from experiments.system.provenance import versions

RESULTS = Path(__file__).parents[1] / "results" / "benchmark"
DEFAULT_SIZES = ("small", "paper")


def build_options(
    suites: Sequence[str],
    sizes: Sequence[str],
    *,
    peers: Path | None,
    budget: float,
    rounds: int,
    smoke: bool,
    only: str = "",
) -> Options:
    """The options of a run on this machine.

    Args:
        peers: the folder of the peers' environment (default: peers are not measured).
        only: text that the description of a measured group contains.

    Raises:
        UserError: a name is unknown, no group matches, or the folder has no environment of peers.
    """
    require(bool(suites), f"--suites is empty; name one or more of {', '.join(SUITES)}")
    for name in suites:
        require_choice("suite", name, SUITES)
    sizes = sizes or (("tiny",) if smoke else DEFAULT_SIZES)
    for name in sizes:
        require_choice("size", name, SIZES)
    options = Options.for_device(
        smoke,
        rounds,
        suites=tuple(suites),
        sizes=tuple(sizes),
        peers=find_peers(peers) if peers else None,
        budget=budget,
        only=only,
    )
    require(
        any(_selected_groups(suite, options) for suite in options.suites),
        f"--only='{only}' matches no group of {', '.join(suites)}; give a part of a description "
        "that a run without --only prints, such as 'td3bc' or 'batch_size 256'",
    )
    return options


def write_results(options: Options, out: Path | None) -> dict[str, Any]:
    """Measures the selected groups, writes the result file and prints the tables.

    Each group updates a file with -unfinished in its name, which becomes the result file at the
    end.

    Args:
        out: the result file (default: in `RESULTS`, named by machine and date).

    Returns:
        The results.

    Raises:
        UserError: a peer does not compute the same function as dawm_jax.
    """
    for results in measure_suites(options):
        file = out or RESULTS / file_name(results)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(unfinished(file), results)
    unfinished(file).replace(file)
    print(f"{tables([results])}\n\nwritten to {file}")
    return results


def unfinished(file: Path) -> Path:
    """The file of the results so far, beside the result file."""
    return file.with_stem(f"{file.stem}-unfinished")


def measure_suites(options: Options) -> Iterator[dict[str, Any]]:
    """Measures the selected groups; after each one, yields the results so far.

    Raises:
        UserError: a peer does not compute the same function as dawm_jax.
    """
    notes: list[str] = []

    def report(line: str) -> None:
        print(line, flush=True)
        notes.append(line)

    results = header(
        {
            "suites": options.suites,
            "sizes": options.sizes,
            "peers": options.peers and options.peers.versions,
            "budget": options.budget,
            "only": options.only,
            "protocol": asdict(options.protocol),
            "scope": asdict(options.scope),
        }
    )
    if options.peers:
        results["same_function"] = check_same_function(options.peers.folder)
    rows: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}
    failed: list[str] = []
    for suite in options.suites:
        started = time.monotonic()
        for found in _measure_suite(suite, options, report, failed):
            rows += found
            seconds[suite] = time.monotonic() - started
            yield {
                **results,
                "rows": rows,
                "exponents": exponents(rows),
                "seconds": seconds,
                "notes": notes,
                "failed": failed,
            }


def header(settings: dict[str, Any]) -> dict[str, Any]:
    """What every result file begins with: date, versions, machine, settings."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "processor": processor(),
        "cores": len(cores()),
        "settings": {**settings, "matmul_precision": matmul_precision()},
    }


def matmul_precision() -> str:
    """JAX's setting for float32 products; "default" lets some GPUs round their factors to TF32."""
    return jax.config.values["jax_default_matmul_precision"] or "default"


def _selected_groups(suite: str, options: Options) -> list[Group]:
    return [group for group in SUITES[suite](options) if options.only in str(group)]


def _measure_suite(
    suite: str, options: Options, report: Report, failed: list[str]
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each group; one for which the budget does not suffice is dropped and reported."""
    started, longest = time.monotonic(), 0.0
    deadline = started + options.budget + options.overtime
    for group in _selected_groups(suite, options):
        elapsed = time.monotonic() - started
        if elapsed + options.growth * longest > options.budget:
            report(
                f"{suite}: dropped {group}: {elapsed:.0f} of {options.budget:.0f} s are used; "
                "raise --budget"
            )
            yield []
            continue
        print(f"{suite}: {group}", flush=True)
        yield _measure_group(group, options, deadline, report, failed)
        longest = max(longest, time.monotonic() - started - elapsed)
        gc.collect()  # frees the states of large models before the next ones are initialized


def _measure_group(
    group: Group, options: Options, deadline: float, report: Report, failed: list[str]
) -> list[dict[str, Any]]:
    """The rows of a group; the others are measured even if it raises, which is reported."""
    with ExitStack() as stack:
        try:
            with enough_memory("its sizes"):
                cases = group.prepare(stack)
                rows = measure(group, cases, options.protocol, deadline, report)
        except UserError as error:
            report(f"{group.suite}: dropped {group}: {error}")
            return []
        except Exception as error:
            traceback.print_exc()
            failed.append(f"{group.suite}: {group}: {type(error).__name__}: {error}")
            return []
    for row in rows:
        rate = row["per_second"]["median"]
        print(f"  {row['by']}, {row['settings']}: {rate:.4g} {row['unit']} per second", flush=True)
    return rows


def exponents(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The exponent of cost for each quantity of the suite `scale` with at least two points."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["suite"] == "scale":
            point = (row["settings"][row["name"]], row["seconds_a_call"])
            points.setdefault(row["name"], []).append(point)
    return {name: exponent(found) for name, found in points.items() if len(found) > 1}


def processor() -> str:
    """The model name of the CPU."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1] if match else platform.processor() or platform.machine()


def file_name(results: dict[str, Any]) -> str:
    """<machine>-<date>.json, with the selected suites, sizes and groups between the two."""
    machine = results["versions"]["device"].removeprefix("1 x ")
    if "cpu" in machine:
        machine = f"{results['cores']} cpu cores"
    settings, parts = results["settings"], [machine]
    for name, default in (("suites", SUITES), ("sizes", DEFAULT_SIZES)):
        if set(settings[name]) != set(default):
            parts += settings[name]
    parts += [settings["only"], results["date"][:10]]
    return f"{re.sub('[^a-z0-9_]+', '-', ' '.join(parts).lower())}.json"
