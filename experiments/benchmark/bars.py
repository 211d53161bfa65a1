"""What is to be reached, as ratios within one run wherever they can be, and what was."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.benchmark.cases import D3RLPY, FIRST_LOAD, FIRST_STEP, OURS, SECOND_LOAD, TORCH

Results = dict[str, Any]
NETWORKS = {"batch_size": 256, "hidden": "256x256"}  # of the learners
HALF = {"compute_dtype": "bfloat16"}


@dataclass(frozen=True)
class Bar:
    """A bar that is reached by at least, or at most, its number."""

    what: str
    number: float
    at_most: bool
    value: Callable[[Results], float | None]

    def reached(self, value: float) -> bool:
        return value <= self.number if self.at_most else value >= self.number

    def __str__(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.number:g}"


def bars(results: Results) -> list[tuple[Bar, float]]:
    """The bars of the machine that the results are of, with what was measured, where it was."""
    on_processor = results["versions"]["device"].endswith("cpu")
    asked = EVERYWHERE + (PROCESSOR if on_processor else ACCELERATOR)
    values = ((bar, bar.value(results)) for bar in asked)
    return [(bar, value) for bar, value in values if value is not None]


def _find(results: Results, suite: str, by: str = OURS, **settings: Any) -> dict[str, Any] | None:
    """The first row with all of the settings, of which its `name` counts as one."""
    for row in results["rows"]:
        found = {**row["settings"], "name": row["name"]}
        if row["suite"] == suite and row["by"] == by and settings.items() <= found.items():
            return row
    return None


def _field(path: str, suite: str, by: str = OURS, **settings: Any) -> Callable[[Results], Any]:
    """A function that gets a number of a row, or None where it was not measured."""

    def value(results: Results) -> float | None:
        row = _find(results, suite, by, **settings)
        return row and row.get(path)

    return value


def _seconds(work: float, suite: str, unit: str, **settings: Any) -> Callable[[Results], Any]:
    """Seconds that `work` units would take at the rate of a row."""

    def value(results: Results) -> float | None:
        row = _find(results, suite, **settings)
        return row and work / _rate(row, unit)

    return value


def _rate(row: dict[str, Any], unit: str) -> float:
    if row["unit"] == unit:
        return row["per_second"]["median"]
    return row["also_per_second"][unit]


def _many_seeds(name: str) -> Callable[[Results], float | None]:
    """Seed-updates of 16 seeds at once over those of one."""

    def value(results: Results) -> float | None:
        row = _find(results, "learners", name=name, seeds=16, **NETWORKS)
        ratio = row and row.get("first_over_this")
        return ratio and 1.0 / ratio

    return value


def _largest(suite: str, unit: str, **settings: Any) -> Callable[[Results], float | None]:
    """The best rate of all rows with the settings."""

    def value(results: Results) -> float | None:
        rows = (row for row in results["rows"] if row["suite"] == suite and row["by"] == OURS)
        rates = [_rate(row, unit) for row in rows if settings.items() <= row["settings"].items()]
        return max(rates, default=None)

    return value


def _task(results: Results) -> float | None:
    """Seconds of a whole task, or None where a stage was not measured.

    100,000 steps of the world model and 50,000 of the inverse dynamics model, 5M transitions, and
    1M updates of 5 seeds, whose rate is that of 4. Actions, compiling and evaluation are left out.
    """
    paper: dict[str, Any] = {"size": "paper", "batch_size": 256}
    sampled = _largest("sampling", "transitions", size="paper", **HALF)(results)
    stages = [
        _seconds(1e5, "world_model", "gradient steps", **paper, **HALF)(results),
        _seconds(5e4, "inverse_dynamics", "gradient steps", **paper)(results),
        sampled and 5e6 / sampled,
        _seconds(5e6, "learners", "seed-updates", name="td3bc", seeds=4, **NETWORKS)(results),
    ]
    known = [seconds for seconds in stages if seconds is not None]
    return sum(known) if len(known) == len(stages) else None


def _exponent(name: str) -> Callable[[Results], float | None]:
    return lambda results: results["exponents"].get(name)


def _at_least(number: float, what: str, value: Callable[[Results], float | None]) -> Bar:
    return Bar(what, number, False, value)


def _at_most(number: float, what: str, value: Callable[[Results], float | None]) -> Bar:
    return Bar(what, number, True, value)


LEARNERS = {"td3bc": "TD3+BC", "iql": "IQL"}
# The best of others are at .65 to .75 of the latter.
YARDSTICKS = {
    "share_of_peak": "large matrix products",
    "share_of_alike": "256 x 256 x 256 products",
}
EVERYWHERE = [
    *(_at_most(1.05, f"exponent of cost in {n}", _exponent(n)) for n in ("transitions", "data")),
    _at_most(1.05, "exponent of cost in seeds", _exponent("seeds")),
    *(
        _at_most(
            seconds,
            f"seconds to load 1M transitions in {episodes:,} episodes",
            _field(
                "seconds_a_call",
                "data",
                transitions=1_000_000,
                episodes=episodes,
                what=FIRST_LOAD,
            ),
        )
        for episodes, seconds in ((1_000, 3.0), (10_000, 8.0))
    ),
    *(
        _at_most(
            1.0,
            f"seconds to load {episodes:,} episodes the second time",
            _field(
                "seconds_a_call",
                "data",
                transitions=1_000_000,
                episodes=episodes,
                what=SECOND_LOAD,
            ),
        )
        for episodes in (1_000, 10_000)
    ),
    _at_most(
        5.0,
        "seconds from start to first training step, cache warm",
        _field("seconds_a_call", "pipeline", what=FIRST_STEP, **{"compilation cache": "warm"}),
    ),
]
PROCESSOR = [
    *(
        _at_least(
            0.8,
            f"{shown}, one seed: share of the rate of {products}",
            _field(share, "learners", name=name, seeds=1, **NETWORKS),
        )
        for name, shown in LEARNERS.items()
        for share, products in YARDSTICKS.items()
    ),
    *(
        _at_least(
            6.0,
            f"{shown}, one seed: times d3rlpy",
            _field("first_over_this", "learners", by=D3RLPY, name=name, **NETWORKS),
        )
        for name, shown in LEARNERS.items()
    ),
    *(
        _at_least(1.0, f"{shown}: seed-updates of 16 seeds over one's", _many_seeds(name))
        for name, shown in LEARNERS.items()
    ),
    *(
        _at_least(
            3.0,
            f"sampling at the paper's size, {batch:,} windows: times PyTorch",
            _field("first_over_this", "sampling", by=TORCH, size="paper", batch_size=batch),
        )
        for batch in (128, 1_024)
    ),
    *(
        _at_least(
            2.5,
            f"world-model step at the paper's size, batch {batch}: times PyTorch",
            _field("first_over_this", "world_model", by=TORCH, size="paper", batch_size=batch),
        )
        for batch in (64, 256)
    ),
]
ACCELERATOR = [
    *(
        _at_least(8.0, f"{shown}: seed-updates of 16 seeds over one's", _many_seeds(name))
        for name, shown in LEARNERS.items()
    ),
    _at_least(
        2e6,
        "sampling at the paper's size, bfloat16: transitions a second",
        _largest("sampling", "transitions", size="paper", **HALF),
    ),
    _at_most(
        90.0,
        "seconds of 1M TD3+BC updates, one seed",
        _seconds(1e6, "learners", "seed-updates", name="td3bc", seeds=1, **NETWORKS),
    ),
    _at_most(
        180.0,
        "seconds of 1M TD3+BC updates, 16 seeds",
        _seconds(16e6, "learners", "seed-updates", name="td3bc", seeds=16, **NETWORKS),
    ),
    _at_most(600.0, "seconds of a whole task at the paper's size, by its stages' rates", _task),
]
