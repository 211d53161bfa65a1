from dataclasses import replace

import pytest

from experiments.benchmark import interference, measure
from experiments.benchmark.cases import D3RLPY, DAWM_JAX, PRODUCTS, Case, Group
from experiments.benchmark.measure import Protocol

GROUP = Group("suite", "group", {}, lambda stack: [])
PROTOCOL = Protocol(rounds=3, min_rounds=3, seconds=0.0, attempts=2, pause=0.0)


class Script:
    """The `call` of a case whose calls take the given seconds, one after the other."""

    def __init__(self, seconds):
        self.seconds = list(seconds)

    def __call__(self, count):
        return self.seconds.pop(0)


def measured(monkeypatch, cases, disturbed=(), deadline=1e9, protocol=PROTOCOL):
    """The rows of the cases and the reported lines; the numbered repetitions are disturbed."""
    repetitions = iter(range(100))

    class Monitor:
        def __init__(self, workers):
            self.number = next(repetitions)

        def disturbed(self, seconds):
            return self.number in disturbed

    monkeypatch.setattr(measure, "CpuMonitor", Monitor)
    lines = []
    return measure.measure(GROUP, cases, protocol, deadline, lines.append), lines


def test_rounds_are_interleaved_and_compared_pairwise(monkeypatch):
    first = Case(DAWM_JAX, {"updates": 10}, Script([9.0, 1.0, 1.0, 2.0, 3.0]), flops=100.0)
    peer = Case(D3RLPY, {"updates": 1}, Script([9.0, 1.0, 1.0, 1.0, 9.0]))
    roofline = Case(PRODUCTS, {"products": 1}, Script([9.0, 1.0, 1.0, 4.0, 1.0]), flops=50.0)
    (row, peer_row, _), lines = measured(monkeypatch, [first, peer, roofline])
    assert row["per_second"]["median"] == 5.0
    assert row["compile_seconds"] == 7.0
    assert row["flops_per_second"] == 50.0
    assert row["share_of_peak"] == 2.0  # of 2, 4 and 2/3
    assert peer_row["first_over_this"] == 10.0  # of 10, 5 and 30
    assert lines == []


def test_a_disturbed_repetition_is_repeated(monkeypatch):
    case = Case(DAWM_JAX, {"updates": 1}, Script([1.0, 1.0, 2.0, 50.0, 4.0, 60.0, 70.0]))
    (row,), _ = measured(monkeypatch, [case], disturbed={1, 3, 4})
    assert (row["kept"], row["thrown_out"]) == (2, 3)
    assert sorted(row["rates"]) == [0.25, 0.5]


def test_rows_of_disturbed_repetitions_alone_are_marked(monkeypatch):
    case = Case(DAWM_JAX, {"updates": 1}, Script([1.0, 1.0, *[2.0] * 6]))
    (row,), _ = measured(monkeypatch, [case], disturbed=range(100))
    assert row["kept"] == 0
    assert row["per_second"]["median"] == 0.5


def test_the_longest_case_is_dropped_to_meet_the_budget(monkeypatch):
    long = Case(DAWM_JAX, {"updates": 1}, Script([50.0, 50.0]), {"seeds": 64})
    short = Case(DAWM_JAX, {"updates": 1}, Script([1.0] * 5))
    roofline = Case(PRODUCTS, {"products": 1}, Script([1.0] * 5), flops=1.0)
    monkeypatch.setattr(measure.time, "monotonic", lambda: 0.0)
    rows, lines = measured(monkeypatch, [short, long, roofline], deadline=20.0)
    assert len(rows) == 2
    (line,) = lines
    assert "dropped" in line
    assert "'seeds': 64" in line
    assert "--budget" in line


def test_a_part_of_a_case_costs_nothing_and_is_dropped_with_it(monkeypatch):
    monkeypatch.setattr(measure.time, "monotonic", lambda: 0.0)

    def runs():
        cold, warm = (
            Case(DAWM_JAX, {"runs": 1}, Script([s] * 3), {"cache": cache}, warm_up=False)
            for cache, s in (("cold", 20.0), ("warm", 10.0))
        )
        parts = (replace(case, call=Script([9.0] * 3), part_of=case) for case in (cold, warm))
        return [cold, warm, *parts]

    rows, lines = measured(monkeypatch, runs(), deadline=60.0)  # two more rounds
    assert (len(rows), lines) == (4, [])
    rows, _ = measured(monkeypatch, runs(), deadline=59.0)
    assert [row["settings"]["cache"] for row in rows] == ["warm", "warm"]


def test_only_the_cpu_time_of_others_is_a_disturbance(monkeypatch):
    busy, own = [10.0], [3.0]
    monkeypatch.setattr(interference, "_busy_seconds", lambda: busy[0])
    monkeypatch.setattr(interference, "_cpu_seconds", lambda process: own[0])
    monitor = interference.CpuMonitor([17])
    busy[0] += 1.0
    assert monitor.disturbed(1.0)
    own[0] += 1.0
    assert not monitor.disturbed(1.0)
    monkeypatch.setattr(interference, "_busy_seconds", lambda: None)
    assert not interference.CpuMonitor().disturbed(1.0)  # unknown


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_budget_is_spent_on_rounds(monkeypatch, rounds):
    monkeypatch.setattr(measure.time, "monotonic", lambda: 0.0)
    protocol = replace(PROTOCOL, min_rounds=1)
    case = Case(DAWM_JAX, {"updates": 1}, Script([10.0] * 5))
    (row,), _ = measured(monkeypatch, [case], deadline=10.0 * rounds, protocol=protocol)
    assert row["kept"] == rounds
