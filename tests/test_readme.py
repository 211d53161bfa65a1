"""The README is true: its Python runs, and its tables are those of the result files."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.readme import MARKED, PAGES, renewed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_result_files(page):
    text = (ROOT / page).read_text()
    assert renewed(text) == text


def test_the_readme_has_tables_of_results():
    kinds = {found["kind"] for found in MARKED.finditer(README)}
    assert {"scores", "fidelity", "ablation"} <= kinds


def test_paths_in_the_map_exist():
    section = README.split("## The map")[1].split("##")[0]
    folder = ""
    for line in section.splitlines():
        if not line.startswith("    "):
            continue
        paths = re.findall(r"\S+/(?!\S)|\S+\.py", line)
        if line[4] != " ":
            folder = paths[0]
        for path in paths:
            assert (ROOT / path).exists() or (ROOT / folder / path).exists(), path


def test_the_python_example_runs(recorded):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for steps in ("10_000", "50_000", "1_000_000"):
        assert steps in code
        code = code.replace(steps, "40")
    names: dict = {}
    exec(code, names)
    assert names["rollout"].observation.shape == (16, 8, 11)
    assert names["action"].shape == (16, 3)
    assert np.abs(names["action"]).max() <= 1.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["made"]))
