"""Measures the cases of a group in interleaved rounds and discards disturbed repetitions."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.benchmark.cases import COPY, LAYER_PRODUCTS, PRODUCTS, Case, Group
from experiments.benchmark.interference import CpuMonitor

Report = Callable[[str], None]  # receives a line for each case that is dropped


@dataclass(frozen=True)
class Protocol:
    """The number and length of repetitions."""

    rounds: int = 5
    min_rounds: int = 3  # a case for which the time does not suffice is dropped
    seconds: float = 1.0  # minimum length of a repetition, which makes several calls
    attempts: int = 3  # per repetition, if others disturb it
    pause: float = 1.0  # seconds before the next attempt


@dataclass(eq=False)
class Measurement:
    """A case and its repetitions."""

    case: Case
    first: float  # seconds of the first call
    calls: int  # per repetition
    expected: float  # seconds per repetition
    rounds: list[float | None]  # seconds per call in each round; None if every attempt is disturbed
    disturbed: list[float]  # seconds per call of the discarded repetitions

    @property
    def seconds(self) -> list[float]:
        """Seconds per call of the undisturbed repetitions, or of all if each is disturbed."""
        return [s for s in self.rounds if s is not None] or self.disturbed

    def rates(self, amount: float) -> list[float | None]:
        """`amount` per second in each round, or None."""
        return [None if s is None else amount / s for s in self.rounds]


def measure(
    group: Group, cases: Sequence[Case], protocol: Protocol, deadline: float, report: Report
) -> list[dict[str, Any]]:
    """Measures each case and returns one row of numbers per case.

    A row identifies the case (suite, name, settings, by, unit) and holds:

    - calls per repetition, the number of repetitions kept and thrown_out, the rates of the former;
    - the median and quartiles of its units per_second, also_per_second in other units,
      seconds_a_call and compile_seconds;
    - FLOPs and bytes per call and per second, and their share of the roofline's rates in the same
      rounds;
    - first_over_this, the speedup of the group's first case over this one in the same rounds.

    Args:
        deadline: on the clock of time.monotonic; the longest cases are dropped to meet it.
    """
    workers = [case.process for case in cases if case.process is not None]
    measured = [_warm_up(case, protocol, workers) for case in cases]
    first = measured[0]
    for number in range(_affordable_rounds(group, measured, protocol, deadline, report)):
        for each in measured:
            if len(each.rounds) == number:
                each.rounds.append(_repeat(each, protocol, workers))
    return [_row(group, each, first, measured) for each in measured]


def _warm_up(case: Case, protocol: Protocol, workers: list[int]) -> Measurement:
    """Makes a first call, which compiles, and a second one to estimate the length of a call.

    A case without a warm-up counts every call as a repetition, including the first one.
    """
    if not case.warm_up:
        each = Measurement(case, first=0.0, calls=1, expected=0.0, rounds=[], disturbed=[])
        each.rounds.append(_repeat(each, protocol, workers))
        each.expected = 0.0 if case.part_of else each.seconds[0]
        return each
    first, second = case.call(1), case.call(1)
    calls = max(1, round(protocol.seconds / second))
    return Measurement(case, first, calls, calls * second, rounds=[], disturbed=[])


def _affordable_rounds(
    group: Group, measured: list[Measurement], protocol: Protocol, deadline: float, report: Report
) -> int:
    """The number of rounds until the deadline; drops the longest cases if they are too few."""
    finished = min(len(each.rounds) for each in measured)

    def affordable() -> int:
        left = deadline - time.monotonic()
        return finished + int(left / sum(each.expected for each in measured))

    while affordable() < protocol.min_rounds and any(not m.case.is_roofline for m in measured):
        longest = max((m for m in measured if not m.case.is_roofline), key=lambda m: m.expected)
        case = longest.case
        measured[:] = [m for m in measured if m.case is not case and m.case.part_of is not case]
        report(
            f"{group.suite}: dropped {group}, {case.by} {case.settings or ''}: a repetition takes "
            f"{longest.expected:.0f} s, too long for the time that is left; raise --budget"
        )
    return min(protocol.rounds, max(affordable(), protocol.min_rounds))


def _repeat(each: Measurement, protocol: Protocol, workers: list[int]) -> float | None:
    """Seconds per call, or None if every attempt is disturbed."""
    for attempt in range(protocol.attempts):
        if attempt:
            time.sleep(protocol.pause)
        monitor = CpuMonitor(workers)
        started = time.monotonic()
        seconds = each.case.call(each.calls) / each.calls
        if not monitor.disturbed(time.monotonic() - started):
            return seconds
        each.disturbed.append(seconds)
    return None


def _row(
    group: Group, each: Measurement, first: Measurement, measured: list[Measurement]
) -> dict[str, Any]:
    """The numbers of a case; ratios of two cases use the rounds in which neither is disturbed."""
    case = each.case
    unit, amount = next(iter(case.work.items()))
    seconds = np.array(each.seconds)
    low, median, high = np.quantile(amount / seconds, [0.25, 0.5, 0.75]).tolist()
    typical = float(np.median(seconds))
    row: dict[str, Any] = {
        "suite": group.suite,
        "name": group.name,
        "settings": {**group.settings, **case.settings},
        "by": case.by,
        "unit": unit,
        "per_second": {"median": median, "low": low, "high": high},
        "also_per_second": {name: n / typical for name, n in case.work.items() if name != unit},
        "seconds_a_call": typical,
        "calls": each.calls,
        "kept": len([s for s in each.rounds if s is not None]),
        "thrown_out": len(each.disturbed),
        "compile_seconds": max(each.first - typical, 0.0) if case.warm_up else None,
        "rates": (amount / seconds).tolist(),
    }
    if case.flops:
        row["flops_a_call"] = case.flops
        row["flops_per_second"] = case.flops / typical
        for share, by in (("share_of_peak", PRODUCTS), ("share_of_alike", LAYER_PRODUCTS)):
            limit = _roofline(measured, by, case.dtype)
            row[share] = limit and _median_ratio(each, case.flops, limit, limit.case.flops)
    if case.traffic:
        row["bytes_a_call"] = case.traffic
        row["bytes_per_second"] = case.traffic / typical
        copy = _roofline(measured, COPY)
        row["share_of_copy"] = copy and _median_ratio(each, case.traffic, copy, copy.case.traffic)
    if group.compared and each is not first and first in measured and unit in first.case.work:
        row["first_over_this"] = _median_ratio(first, first.case.work[unit], each, amount)
    return row


def _roofline(measured: list[Measurement], by: str, dtype: str | None = None) -> Measurement | None:
    found = (m for m in measured if m.case.by == by and dtype in (None, m.case.dtype))
    return next(found, None)


def _median_ratio(
    one: Measurement, one_amount: float, other: Measurement, other_amount: float
) -> float | None:
    """The median ratio of two rates, over the rounds in which neither case is disturbed."""
    pairs = zip(one.rates(one_amount), other.rates(other_amount), strict=True)
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    return float(np.median(ratios)) if ratios else None
