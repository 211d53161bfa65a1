"""The walk of the benchmark: suites, their groups, the rows that are measured."""

import gc
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dawm_jax.errors import UserError, require, require_choice
from experiments.benchmark.cases import Group
from experiments.benchmark.measure import measure
from experiments.benchmark.peers.environment import find
from experiments.benchmark.peers.same_function import check
from experiments.benchmark.scope import Options
from experiments.benchmark.sizes import SIZES
from experiments.benchmark.suites import SUITES
from experiments.benchmark.suites.scale import exponent
from experiments.benchmark.table import benchmark
from experiments.store.files import write_json
from experiments.system.machine import cores, enough_memory
from experiments.system.provenance import versions

RESULTS = Path(__file__).parents[1] / "results" / "benchmark"
USUAL_SIZES = ("small", "paper")


def asked(
    suites: Sequence[str],
    sizes: Sequence[str],
    *,
    peers: Path | None,
    budget: float,
    rounds: int,
    smoke: bool,
    only: str = "",
) -> Options:
    """What is to be measured on this machine, in groups whose description holds `only`.

    Raises:
        UserError: a name is unknown, no group is left, or there is no environment of peers in that
            folder.
    """
    require(bool(suites), f"--suites is empty; name some of {', '.join(SUITES)}")
    for name in suites:
        require_choice("suite", name, SUITES)
    sizes = sizes or (("tiny",) if smoke else USUAL_SIZES)
    for name in sizes:
        require_choice("size", name, SIZES)
    options = Options.of_this_machine(
        smoke,
        rounds,
        suites=tuple(suites),
        sizes=tuple(sizes),
        peers=find(peers) if peers else None,
        budget=budget,
        only=only,
    )
    require(
        any(_groups(suite, options) for suite in options.suites),
        f"no group of {', '.join(suites)} has '{only}' in its description (--only); give a part of "
        "a line that a run without it prints, as 'td3bc' or 'batch_size 256'",
    )
    return options


def write(options: Options, out: Path | None) -> None:
    """Measures what is asked for, writes the result file and prints the table.

    After each suite it writes a file that says unfinished, which becomes the result at the end.

    Args:
        out: the result file; in `RESULTS`, named by machine and date, unless given.

    Raises:
        UserError: a peer is another function than ours.
    """
    for results in run(options):
        file = out or RESULTS / file_name(results)
        unfinished = file.with_stem(f"{file.stem}-unfinished")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(unfinished, results)
        print(f"{', '.join(results['seconds'])}: written to {unfinished}", flush=True)
    unfinished.replace(file)
    print(f"{benchmark([results])}\n\nwritten to {file}")


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measures what is asked for; after each suite yields what the result file holds until then.

    Raises:
        UserError: a peer is another function than ours.
    """
    notes: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        notes.append(line)

    started = datetime.now(UTC)
    results: dict[str, Any] = {
        "date": started.isoformat(timespec="seconds"),
        "versions": versions(),
        "processor": processor(),
        "cores": len(cores()),
        "settings": {
            "suites": options.suites,
            "sizes": options.sizes,
            "peers": options.peers and options.peers.versions,
            "budget": options.budget,
            "only": options.only,
            "protocol": asdict(options.protocol),
            "scope": asdict(options.scope),
        },
    }
    if options.peers:
        results["same_function"] = check(options.peers.folder)
    rows: list[dict[str, Any]] = []
    seconds = {}
    for suite in options.suites:
        begun = time.monotonic()
        rows += _suite(suite, options, say)
        seconds[suite] = time.monotonic() - begun
        yield {
            **results,
            "rows": rows,
            "exponents": exponents(rows),
            "seconds": seconds,
            "notes": notes,
        }


def _groups(suite: str, options: Options) -> list[Group]:
    """The groups of a suite that are asked for."""
    return [group for group in SUITES[suite](options) if options.only in str(group)]


def _suite(suite: str, options: Options, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The rows of a suite; groups that the budget does not reach are dropped, each with a line."""
    begun, longest, rows = time.monotonic(), 0.0, []
    for group in _groups(suite, options):
        elapsed = time.monotonic() - begun
        if elapsed + 2 * longest > options.budget:
            say(
                f"{suite}: dropped {group}: {elapsed:.0f} s of the budget of "
                f"{options.budget:.0f} s are spent (--budget)"
            )
            continue
        print(f"{suite}: {group}", flush=True)
        rows += _group(group, options, begun + options.budget, say)
        longest = max(longest, time.monotonic() - begun - elapsed)
        gc.collect()  # states of large models, before the next ones are made
    return rows


def _group(
    group: Group, options: Options, deadline: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        try:
            with enough_memory("its sizes"):
                cases = group.prepare(stack)
                rows = measure(group, cases, options.protocol, deadline, say)
        except UserError as error:
            say(f"{group.suite}: dropped {group}: {error}")
            return []
    for row in rows:
        rate = row["per_second"]["median"]
        print(f"  {row['by']}, {row['settings']}: {rate:.4g} {row['unit']} a second", flush=True)
    return rows


def exponents(rows: list[dict[str, Any]]) -> dict[str, float]:
    """By what grows in the suite `scale`, where at least two points were measured."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row["suite"] == "scale":
            point = (row["settings"][row["name"]], row["seconds_a_call"])
            points.setdefault(row["name"], []).append(point)
    return {name: exponent(found) for name, found in points.items() if len(found) > 1}


def processor() -> str:
    """The name of the processor's model."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    named = re.search(r"model name\s*:\s*(.+)", text)
    return named[1] if named else platform.processor() or platform.machine()


def file_name(results: dict[str, Any]) -> str:
    """<machine>-<date>.json; between them what was chosen of suites, sizes and groups."""
    found = results["versions"]
    machine = found["device"].removeprefix("1 x ")
    if "cpu" in machine:
        machine = f"{results['cores']} cpu cores"
    settings, parts = results["settings"], [machine]
    for name, all_of_them in (("suites", SUITES), ("sizes", USUAL_SIZES)):
        if set(settings[name]) != set(all_of_them):
            parts += settings[name]
    parts += [settings["only"], results["date"][:10]]
    return f"{re.sub('[^a-z0-9_]+', '-', ' '.join(parts).lower())}.json"
