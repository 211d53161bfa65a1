"""Performance targets, stated as ratios within one run where possible, and the measured values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.benchmark.cases import (
    D3RLPY,
    DAWM_JAX,
    FIRST_LOAD,
    FIRST_STEP,
    SECOND_LOAD,
    TORCH,
)

Results = dict[str, Any]
Value = Callable[[Results], float | None]  # None if it is not measured
NETWORKS: dict[str, Any] = {"batch_size": 256, "hidden": "256x256"}  # of the learners
HALF: dict[str, Any] = {"compute_dtype": "bfloat16"}


@dataclass(frozen=True)
class Target:
    """An upper or lower bound on a measured value."""

    what: str
    bound: float
    is_maximum: bool
    value: Value

    def reached(self, value: float) -> bool:
        return value <= self.bound if self.is_maximum else value >= self.bound

    def __str__(self) -> str:
        return f"{'at most' if self.is_maximum else 'at least'} {self.bound:g}"


def measured_targets(results: Results) -> list[tuple[Target, float]]:
    """The targets for the machine of the results that were measured, with the values."""
    on_cpu = results["versions"]["device"].endswith("cpu")
    targets = COMMON + (CPU if on_cpu else ACCELERATOR)
    values = ((target, target.value(results)) for target in targets)
    return [(target, value) for target, value in values if value is not None]


def _find(
    results: Results, suite: str, by: str = DAWM_JAX, **settings: Any
) -> dict[str, Any] | None:
    """The first row with all of the settings, to which its `name` belongs."""
    for row in results["rows"]:
        found = {**row["settings"], "name": row["name"]}
        if row["suite"] == suite and row["by"] == by and settings.items() <= found.items():
            return row
    return None


def _field(key: str, suite: str, by: str = DAWM_JAX, **settings: Any) -> Value:
    """The value of `key` in a row."""

    def value(results: Results) -> float | None:
        row = _find(results, suite, by, **settings)
        return None if row is None else row.get(key)

    return value


def _seconds(amount: float, suite: str, unit: str, **settings: Any) -> Value:
    """The seconds that `amount` units take at the rate of a row."""

    def value(results: Results) -> float | None:
        row = _find(results, suite, **settings)
        return None if row is None else amount / _rate(row, unit)

    return value


def _rate(row: dict[str, Any], unit: str) -> float:
    if row["unit"] == unit:
        return row["per_second"]["median"]
    return row["also_per_second"][unit]


def _seed_speedup(name: str) -> Value:
    """Seed-updates per second of 16 seeds trained together, over those of one seed."""
    one_over_many = _field("first_over_this", "learners", name=name, seeds=16, **NETWORKS)

    def value(results: Results) -> float | None:
        slowdown = one_over_many(results)
        return None if slowdown is None else 1.0 / slowdown

    return value


def _highest_rate(suite: str, unit: str, **settings: Any) -> Value:
    """The highest rate of all rows with the settings."""

    def value(results: Results) -> float | None:
        rows = (row for row in results["rows"] if row["suite"] == suite and row["by"] == DAWM_JAX)
        rates = [_rate(row, unit) for row in rows if settings.items() <= row["settings"].items()]
        return max(rates, default=None)

    return value


def _whole_task(results: Results) -> float | None:
    """The seconds of a whole task, by the rates of its stages; None if one is not measured.

    100,000 updates of the world model and 50,000 of the inverse dynamics model, 5M transitions, and
    1M updates of 5 seeds, at the rate of 4. Action inference, compilation and evaluation are
    left out.
    """
    paper: dict[str, Any] = {"size": "paper", "batch_size": 256}
    rate = _highest_rate("sampling", "transitions", size="paper", **HALF)(results)
    stages = [
        _seconds(1e5, "world_model", "gradient steps", **paper, **HALF)(results),
        _seconds(5e4, "inverse_dynamics", "gradient steps", **paper)(results),
        None if rate is None else 5e6 / rate,
        _seconds(5e6, "learners", "seed-updates", name="td3bc", seeds=4, **NETWORKS)(results),
    ]
    known = [seconds for seconds in stages if seconds is not None]
    return sum(known) if len(known) == len(stages) else None


def _exponent(name: str) -> Value:
    return lambda results: results["exponents"].get(name)


def _at_least(bound: float, what: str, value: Value) -> Target:
    return Target(what, bound, False, value)


def _at_most(bound: float, what: str, value: Value) -> Target:
    return Target(what, bound, True, value)


def _load_seconds(episodes: int, what: str) -> Value:
    """The seconds to load 1M transitions."""
    return _field("seconds_a_call", "data", transitions=1_000_000, episodes=episodes, what=what)


LEARNERS = {"td3bc": "TD3+BC", "iql": "IQL"}
PEAKS = {
    "share_of_peak": "large matrix products",
    "share_of_alike": "256 x 256 x 256 products",  # other libraries reach 0.65 to 0.75 of these
}
COMMON = [
    *(
        _at_most(1.05, f"exponent of the cost in {name}", _exponent(name))
        for name in ("transitions", "data", "seeds")
    ),
    *(
        _at_most(
            seconds,
            f"seconds to load 1M transitions in {episodes:,} episodes, first time",
            _load_seconds(episodes, FIRST_LOAD),
        )
        for episodes, seconds in ((1_000, 3.0), (10_000, 8.0))
    ),
    *(
        _at_most(
            1.0,
            f"seconds to load 1M transitions in {episodes:,} episodes, second time",
            _load_seconds(episodes, SECOND_LOAD),
        )
        for episodes in (1_000, 10_000)
    ),
    _at_most(
        5.0,
        "seconds from the start to the first training step, compilation cache warm",
        _field("seconds_a_call", "pipeline", what=FIRST_STEP, **{"compilation cache": "warm"}),
    ),
]
CPU = [
    *(
        _at_least(
            0.8,
            f"{shown}, one seed: FLOP/s as a share of {products}",
            _field(share, "learners", name=name, seeds=1, **NETWORKS),
        )
        for name, shown in LEARNERS.items()
        for share, products in PEAKS.items()
    ),
    *(
        _at_least(
            6.0,
            f"{shown}, one seed: speedup over d3rlpy",
            _field("first_over_this", "learners", by=D3RLPY, name=name, **NETWORKS),
        )
        for name, shown in LEARNERS.items()
    ),
    *(
        _at_least(1.0, f"{shown}: seed-updates per second, 16 seeds over one", _seed_speedup(name))
        for name, shown in LEARNERS.items()
    ),
    *(
        _at_least(
            3.0,
            f"sampling, paper size, {batch:,} windows: speedup over PyTorch",
            _field("first_over_this", "sampling", by=TORCH, size="paper", batch_size=batch),
        )
        for batch in (128, 1_024)
    ),
    *(
        _at_least(
            2.5,
            f"world model update, paper size, batch {batch}: speedup over PyTorch",
            _field("first_over_this", "world_model", by=TORCH, size="paper", batch_size=batch),
        )
        for batch in (64, 256)
    ),
]
ACCELERATOR = [
    *(
        _at_least(8.0, f"{shown}: seed-updates per second, 16 seeds over one", _seed_speedup(name))
        for name, shown in LEARNERS.items()
    ),
    _at_least(
        2e6,
        "sampling, paper size, bfloat16: transitions per second",
        _highest_rate("sampling", "transitions", size="paper", **HALF),
    ),
    *(
        _at_most(
            seconds,
            f"seconds of 1M TD3+BC updates, {shown}",
            _seconds(
                seeds * 1e6, "learners", "seed-updates", name="td3bc", seeds=seeds, **NETWORKS
            ),
        )
        for seeds, shown, seconds in ((1, "one seed", 90.0), (16, "16 seeds", 180.0))
    ),
    _at_most(600.0, "seconds of a whole task, paper size, by the rates of its stages", _whole_task),
]
