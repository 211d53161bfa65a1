"""Renews the README's tables from the result files that they name.

python -m experiments.readme
"""

import json
import re
from pathlib import Path

from experiments import tables

ROOT = Path(__file__).parent.parent
BEGIN, END = (
    r"<!-- (?P<kind>scores|fidelity|ablation): (?P<files>[^>]+) -->\n",
    "<!-- end of table -->",
)
MARKED = re.compile(f"({BEGIN}).*?(?={END})", re.DOTALL)


def renewed(text: str) -> str:
    """`text` with the table of each marked result file, or files."""

    def render(match: re.Match[str]) -> str:
        results = [json.loads((ROOT / name).read_text()) for name in match["files"].split()]
        if match["kind"] == "fidelity":
            table = tables.fidelity(results)
        else:
            table = getattr(tables, match["kind"])(results[0])
        origin = " ".join(dict.fromkeys(tables.provenance(each) for each in results))
        return f"{match[1]}{table}\n\n{origin}\n"

    return MARKED.sub(render, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(renewed(readme.read_text()))
