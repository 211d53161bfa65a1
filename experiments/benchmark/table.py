"""Tables of benchmark results in Markdown: targets, a row for each case, checks of a GPU."""

from math import inf
from typing import Any

from experiments.benchmark.cases import ROOFLINES
from experiments.benchmark.targets import measured_targets

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
COLUMNS = (
    "suite",
    "case",
    "implementation",
    "per second (quartiles)",
    "FLOP/s",
    "of the peak",
    "of products of the layers' size",
    "B/s",
    "of a copy",
    "speedup of the first case",
    "compilation",
)


def tables(runs: list[dict[str, Any]]) -> str:
    """The targets, the exponents of cost, and a row for each case of all the runs."""
    return "\n\n".join(part for part in (target_table(runs), case_table(runs)) if part)


def target_table(runs: list[dict[str, Any]]) -> str:
    """The targets with the measured values, and the exponents of cost; empty if there are none."""
    machines = _by_machine(runs)
    lines = [
        f"| {target.what} | {target} | {value:.3g} "
        f"| {'reached' if target.reached(value) else 'missed'} |"
        for machine in machines
        for target, value in measured_targets(machine)
    ]
    exponents = [f"{n} {e:.2f}" for each in machines for n, e in each["exponents"].items()]
    if lines:
        lines = ["| what | target | measured | |", "| --- | --- | --- | --- |", *lines]
    if exponents:
        lines += ["", f"Exponents of cost: {', '.join(exponents)}."]
    return "\n".join(lines).strip()


def _by_machine(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merges the runs on the same machine: a target may need the rows of several suites."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        machine = run["versions"]["device"], run["processor"]
        results = merged.setdefault(machine, {**run, "rows": [], "exponents": {}})
        results["rows"] += run["rows"]
        results["exponents"] |= run["exponents"]
    return list(merged.values())


def case_table(runs: list[dict[str, Any]]) -> str:
    """A row for each case; the rooflines appear as shares in the rows of the others."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [_line(row) for run in runs for row in run["rows"] if row["by"] not in ROOFLINES]
    return "\n".join(lines)


def checks_table(runs: list[dict[str, Any]]) -> str:
    """The largest relative errors of each check of `gpu/correctness.py`, a row each."""
    lines = [
        "| computation | bound | products at `highest` precision | as configured | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for check in (check for run in runs for check in run["checks"]):
        highest, configured = (
            f"{largest_error(check, precision):.1e}" for precision in ("highest", "default")
        )
        verdict = "passed" if check["passed"] else "failed"
        lines.append(
            f"| {check['check']} | {check['bound']:.0e} | {highest} | {configured} | {verdict} |"
        )
    return "\n".join(lines)


def largest_error(check: dict[str, Any], precision: str) -> float:
    """The largest relative error of a check's outputs; infinite if one is not finite or missing."""
    errors = check["errors"].get(precision, {}).values()
    return max((inf if error is None else error for error in errors), default=inf)


def _line(row: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} {_value(value)}" for name, value in row["settings"].items())
    rate = row["per_second"]
    spread = f"{_short(rate['median'])} {row['unit']} ({_short(rate['low'])} to "
    spread += f"{_short(rate['high'])}{'' if row['kept'] else ', disturbed'})"
    if rate["median"] < 1.0:
        spread = f"1 in {1.0 / rate['median']:.3g} s{'' if row['kept'] else ' (disturbed)'}"
    columns = [
        row["suite"],
        f"{row['name']}: {settings}" if settings else row["name"],
        row["by"],
        spread,
        _short(row.get("flops_per_second")),
        _share(row.get("share_of_peak")),
        _share(row.get("share_of_alike")),
        _short(row.get("bytes_per_second")),
        _share(row.get("share_of_copy")),
        "" if row.get("first_over_this") is None else f"{row['first_over_this']:.2f}",
        "" if row["compile_seconds"] is None else f"{row['compile_seconds']:.1f} s",
    ]
    return f"| {' | '.join(columns)} |"


def _value(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _short(value: float | None) -> str:
    """Three digits and a prefix, such as 1.23 G; empty for None."""
    if value is None:
        return ""
    for size, prefix in PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
