"""Renews the tables of the README and of docs/limits.md from the result files that they name.

python -m experiments.readme
"""

import json
import re
from pathlib import Path

from experiments.benchmark.table import reached, rows
from experiments.reporting import tables

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/limits.md")
BEGIN, END = (
    r"<!-- (?P<kind>scores|fidelity|ablation|bars|benchmark): (?P<files>[^>]+) -->\n",
    "<!-- end of table -->",
)
MARKED = re.compile(f"({BEGIN}).*?(?={END})", re.DOTALL)


def renewed(text: str) -> str:
    """`text` with the table of each marked result file, or files."""

    def render(found: re.Match[str]) -> str:
        results = [json.loads((ROOT / name).read_text()) for name in found["files"].split()]
        match found["kind"]:
            case "fidelity":
                table = tables.fidelity(results)
            case "bars":
                table = reached(results)
            case "benchmark":
                table = rows(results)
            case kind:
                table = getattr(tables, kind)(results[0])
        origin = " ".join(dict.fromkeys(tables.provenance(each) for each in results))
        return f"{found[1]}{table}\n\n{origin}\n"

    return MARKED.sub(render, text)


if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(renewed((ROOT / page).read_text()))
