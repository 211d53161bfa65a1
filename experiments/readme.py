"""Renews the tables of README.md and docs/ from the result files that they name.

    python -m experiments.readme

A table stands between `<!-- kind: file ... -->` and `<!-- end of table -->`.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.benchmark.table import case_table, checks_table, target_table
from experiments.reporting import across_runs, scores, tables

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLES: dict[str, Callable[[list[dict[str, Any]]], str]] = {  # of one or several result files
    "effects": across_runs.effects,
    "scores": lambda runs: scores.scores(*runs),
    "fidelity": tables.fidelity,
    "ends": tables.ends,
    "references": lambda runs: tables.references(*runs),
    "ablation": lambda runs: tables.ablation(*runs),
    "attribution": lambda runs: scores.attribution(*runs),
    "variants": scores.variants,
    "d3rlpy": lambda runs: scores.arms(*runs),
    "round trip": lambda runs: tables.round_trip(*runs),
    "targets": target_table,
    "benchmark": case_table,
    "checks": checks_table,
}
BEGIN = rf"<!-- (?P<kind>{'|'.join(TABLES)}): (?P<files>[^>]+) -->\n"
END = "<!-- end of table -->"
MARKED = re.compile(f"({BEGIN}).*?(?={END})", re.DOTALL)


def renewed(text: str) -> str:
    """`text` with each marked table as its result files give it."""

    def render(found: re.Match[str]) -> str:
        runs = [json.loads((ROOT / name).read_text()) for name in found["files"].split()]
        origin = " ".join(dict.fromkeys(tables.provenance(run) for run in runs))
        return f"{found[1]}{TABLES[found['kind']](runs)}\n\n{origin}\n"

    return MARKED.sub(render, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(renewed(page.read_text()))
