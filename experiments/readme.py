"""Renews the README's result tables from the result files they name.

python -m experiments.readme
"""

import json
import re
from pathlib import Path

from experiments.report import provenance, table

ROOT = Path(__file__).parent.parent
TABLE = re.compile(r"(<!-- table: (?P<file>\S+) -->\n).*?(?=<!-- end of table -->)", re.DOTALL)


def renewed(text: str) -> str:
    """`text` with the table of each marked result file."""

    def render(match: re.Match[str]) -> str:
        results = json.loads((ROOT / match["file"]).read_text())
        return f"{match[1]}{table(results)}\n\n{provenance(results)}\n"

    return TABLE.sub(render, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(renewed(readme.read_text()))
