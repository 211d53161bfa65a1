"""The smoke version of the benchmark: every suite, with programs that compile quickly."""

import json
from pathlib import Path

import pytest

from experiments.benchmark import campaign
from experiments.benchmark.cases import DAWM_JAX, PRODUCTS, ROOFLINES
from experiments.benchmark.interference import CpuMonitor
from experiments.benchmark.suites import SUITES
from experiments.benchmark.table import case_table, tables
from experiments.readme import renewed
from experiments.system.machine import cores


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CpuMonitor, "disturbed", lambda self, seconds: False)
        options = campaign.build_options(
            tuple(SUITES), (), peers=None, budget=600.0, rounds=1, smoke=True
        )
        *_, last = campaign.measure_suites(options)
        return last


@pytest.mark.slow
def test_every_suite_is_measured(results):
    assert {row["suite"] for row in results["rows"]} == set(SUITES)
    assert results["notes"] == []
    assert set(results["seconds"]) == set(SUITES)
    assert "data" in results["exponents"]
    assert json.loads(json.dumps(results, allow_nan=False))["cores"] == len(cores())


@pytest.mark.slow
def test_every_row_is_complete(results):
    for row in results["rows"]:
        assert row["seconds_a_call"] > 0.0
        assert (row["kept"], row["thrown_out"]) == (1, 0)
        rate = row["per_second"]
        assert rate["low"] <= rate["median"] <= rate["high"]
        if row["by"] == DAWM_JAX and row["suite"] in ("sampling", "learners", "world_model"):
            assert row["flops_per_second"] > 0.0
            assert row["compile_seconds"] >= 0.0
            assert "share_of_peak" in row
            assert (row["share_of_alike"] is not None) == (row["suite"] == "learners")


@pytest.mark.slow
def test_every_comparison_includes_a_roofline(results):
    for suite in ("sampling", "learners", "world_model", "inverse_dynamics"):
        rows = [row for row in results["rows"] if row["suite"] == suite]
        groups = {(row["name"], row["by"]) for row in rows}
        names = {name for name, _ in groups}
        assert names == {name for name, by in groups if by == PRODUCTS}


@pytest.mark.slow
def test_the_table_appears_in_a_readme(results, tmp_path):
    file = tmp_path / "cpu.json"
    file.write_text(json.dumps(results))
    text = renewed(f"before\n<!-- benchmark: {file} -->\nold\n<!-- end of table -->\nafter\n")
    assert case_table([results]) in text
    assert tables([results]).endswith(case_table([results]))
    assert "\nold\n" not in text
    assert text.startswith("before\n<!-- benchmark: ")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    shown = [line for line in lines if line.split(" | ")[0][2:] in SUITES]
    assert len(shown) == len([row for row in results["rows"] if row["by"] not in ROOFLINES])


@pytest.mark.parametrize(
    ("rate", "shown"), [(1234.5, "1,234 windows (1,000 to"), (0.25, "1 in 4 s |"), (1.5, "1.5 win")]
)
def test_a_rate_below_one_is_shown_as_seconds_per_unit(rate, shown):
    row = {"suite": "sampling", "name": "sample", "by": DAWM_JAX, "settings": {}, "unit": "windows"}
    row |= {"per_second": {"low": 1000, "median": rate, "high": 2000}, "kept": 5}
    row |= {"seconds_a_call": 24.0, "compile_seconds": None}  # of several windows
    assert f"| {DAWM_JAX} | {shown}" in case_table([{"rows": [row]}])


@pytest.mark.slow
def test_several_accelerators_are_measured_together(run_on_eight_devices):
    done = run_on_eight_devices(Path(__file__).with_name("eight_accelerators.py"))
    assert done.returncode == 0, done.stdout
