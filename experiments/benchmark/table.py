"""Result files of the benchmark as Markdown: bars first, then a row for each case."""

from typing import Any

from experiments.benchmark.bars import bars
from experiments.benchmark.cases import ROOFS

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def benchmark(runs: list[dict[str, Any]]) -> str:
    """What was reached, the exponents of cost, and the rows of all the runs."""
    return "\n\n".join(part for part in (reached(runs), rows(runs)) if part)


def reached(runs: list[dict[str, Any]]) -> str:
    """The bars, with what was measured, and the exponents of cost; empty if none was measured."""
    machines = _machines(runs)
    lines = [
        f"| {bar.what} | {bar} | {value:.3g} | {'reached' if bar.reached(value) else 'missed'} |"
        for machine in machines
        for bar, value in bars(machine)
    ]
    exponents = [f"{n} {e:.2f}" for each in machines for n, e in each["exponents"].items()]
    if lines:
        lines = ["| what | bar | measured | |", "| --- | --- | --- | --- |", *lines]
    if exponents:
        lines += ["", f"Exponents of cost: {', '.join(exponents)}."]
    return "\n".join(lines).strip()


def _machines(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs on the same machine as one: a bar may need the rows of several suites."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        machine = run["versions"]["device"], run["processor"]
        whole = found.setdefault(machine, {**run, "rows": [], "exponents": {}})
        whole["rows"] += run["rows"]
        whole["exponents"] |= run["exponents"]
    return list(found.values())


def rows(runs: list[dict[str, Any]]) -> str:
    """A row for each case."""
    lines = [
        "| suite | what | by | a second (quartiles) | FLOP/s | of the peak "
        "| of products of its layers' size | B/s | of a copy "
        "| first of its kind over this | compile |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(row) for run in runs for row in run["rows"] if not _repeated_roof(row)]
    return "\n".join(lines)


def _repeated_roof(row: dict[str, Any]) -> bool:
    """The roofs stand in every row as shares; a table has no room for them."""
    return row["by"] in ROOFS


def _row(row: dict[str, Any]) -> str:
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
    """1.23 G, or 456 as it is; nothing for None."""
    if value is None:
        return ""
    for size, prefix in PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
