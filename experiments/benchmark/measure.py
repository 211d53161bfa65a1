"""The cases of a group in turn, round by round; disturbed repetitions are thrown out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.benchmark.cases import ALIKE, COPY, PRODUCTS, Case, Group
from experiments.benchmark.quiet import Watch


@dataclass(frozen=True)
class Protocol:
    """How often and how long."""

    rounds: int = 5
    least_rounds: int = 3  # before a case is dropped for want of time
    seconds: float = 1.0  # that a repetition lasts at least, by making several calls
    attempts: int = 3  # at a repetition that others disturb
    pause: float = 1.0  # seconds before another attempt


@dataclass(eq=False)
class Measured:
    """A case and its repetitions: seconds a call, with None for one that was thrown out."""

    case: Case
    first: float  # seconds of the first call
    calls: int  # in a repetition
    expected: float  # seconds of a repetition
    kept: list[float | None]
    disturbed: list[float]

    @property
    def seconds(self) -> list[float]:
        """Seconds a call; where all were disturbed, those."""
        return [s for s in self.kept if s is not None] or self.disturbed

    def rates(self, amount: float) -> list[float | None]:
        """`amount` a second in each round, or None."""
        return [None if s is None else amount / s for s in self.kept]


def measure(
    group: Group,
    cases: Sequence[Case],
    protocol: Protocol,
    deadline: float,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Rows of numbers, one a case.

    A row says what was measured (suite, name, settings, by, unit) and how (calls in a repetition,
    repetitions kept and thrown_out, the rates of those that count); the median and quartiles of
    its units per_second, also_per_second in other units, seconds_a_call and compile_seconds; FLOPs
    and bytes a call and per second, with their shares of the roofs' in the same rounds; and how
    many times faster the first case of the group was in the same rounds, first_over_this.

    Args:
        deadline: on the clock of time.monotonic; the longest cases are dropped to meet it.
        say: gets a line for each case dropped.
    """
    workers = [case.process for case in cases if case.process is not None]
    measured = [_begin(case, protocol, workers) for case in cases]
    first = measured[0]
    rounds = _fit(group, measured, protocol, deadline, say)
    for number in range(rounds):
        for each in measured:
            if len(each.kept) == number:
                each.kept.append(_repetition(each, protocol, workers))
    return [_row(group, each, first, measured) for each in measured]


def _begin(case: Case, protocol: Protocol, workers: list[int]) -> Measured:
    """A first call, which compiles, and a second one to know how long they take.

    Of a case without a warm-up every call is a repetition, the first one included.
    """
    if not case.warm_up:
        each = Measured(case, first=0.0, calls=1, expected=0.0, kept=[], disturbed=[])
        each.kept.append(_repetition(each, protocol, workers))
        each.expected = 0.0 if case.part_of else each.seconds[0]
        return each
    first, second = case.call(1), case.call(1)
    calls = max(1, round(protocol.seconds / second))
    return Measured(case, first, calls, calls * second, kept=[], disturbed=[])


def _fit(
    group: Group,
    measured: list[Measured],
    protocol: Protocol,
    deadline: float,
    say: Callable[[str], None],
) -> int:
    """Drops the longest of the cases while even the fewest rounds take too long."""
    made = min(len(each.kept) for each in measured)

    def affordable() -> int:
        left = deadline - time.monotonic()
        return made + int(left / sum(each.expected for each in measured))

    while affordable() < protocol.least_rounds and any(not m.case.is_roof for m in measured):
        longest = max((m for m in measured if not m.case.is_roof), key=lambda m: m.expected)
        gone = longest.case
        measured[:] = [m for m in measured if m.case is not gone and m.case.part_of is not gone]
        say(
            f"{group.suite}: dropped {group}, {longest.case.by} {longest.case.settings or ''}: "
            f"a repetition takes {longest.expected:.0f} s, which the budget has not (--budget)"
        )
    return min(protocol.rounds, max(affordable(), protocol.least_rounds))


def _repetition(each: Measured, protocol: Protocol, workers: list[int]) -> float | None:
    """Seconds a call, or None if every attempt was disturbed."""
    for attempt in range(protocol.attempts):
        if attempt:
            time.sleep(protocol.pause)
        watch = Watch(workers)
        started = time.monotonic()
        seconds = each.case.call(each.calls) / each.calls
        if not watch.disturbed(time.monotonic() - started):
            return seconds
        each.disturbed.append(seconds)
    return None


def _row(group: Group, each: Measured, first: Measured, measured: list[Measured]) -> dict[str, Any]:
    """The numbers of a case; those compared with another are of the rounds that both kept."""
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
        "kept": len([s for s in each.kept if s is not None]),
        "thrown_out": len(each.disturbed),
        "compile_seconds": max(each.first - typical, 0.0) if case.warm_up else None,
        "rates": (amount / seconds).tolist(),
    }
    if case.flops:
        row["flops_a_call"] = case.flops
        row["flops_per_second"] = case.flops / typical
        for share, by in (("share_of_peak", PRODUCTS), ("share_of_alike", ALIKE)):
            roof = _roof(measured, by, case.dtype)
            row[share] = roof and _ratio(each, case.flops, roof, roof.case.flops)
    copy = _roof(measured, COPY)
    if case.moved:
        row["bytes_a_call"] = case.moved
        row["bytes_per_second"] = case.moved / typical
        row["share_of_copy"] = copy and _ratio(each, case.moved, copy, copy.case.moved)
    if group.compared and each is not first and first in measured and unit in first.case.work:
        row["first_over_this"] = _ratio(first, first.case.work[unit], each, amount)
    return row


def _roof(measured: list[Measured], by: str, dtype: str | None = None) -> Measured | None:
    roofs = (m for m in measured if m.case.by == by and dtype in (None, m.case.dtype))
    return next(roofs, None)


def _ratio(one: Measured, amount: float, other: Measured, others: float) -> float | None:
    """Median, over the rounds that both kept, of one's rate divided by the other's."""
    pairs = zip(one.rates(amount), other.rates(others), strict=True)
    ratios = [a / b for a, b in pairs if a is not None and b is not None]
    return float(np.median(ratios)) if ratios else None
