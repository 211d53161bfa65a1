"""How far the suites go: on a processor, on an accelerator, and for a test of the benchmark."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from experiments.benchmark.measure import Protocol


@dataclass(frozen=True)
class Scope:
    """Ranges. A suite goes from its small cases to its large ones, as far as the budget reaches."""

    transitions: int = 1_000_000  # of the random data
    flops_a_call: float = 5e10  # of training a model and of the roof: about 0.2 s
    updates: int = 100  # of a learner's one seed, in a call
    least_updates: int = 4  # of many seeds
    copied: int = 2**28  # bytes
    products: tuple[tuple[int, int], ...] = ((2048, 2048), (4096, 1024), (1024, 512))
    sampled: tuple[int, ...] = (16, 128, 1024)  # windows at once
    sampling_steps: tuple[int, ...] = (1, 3, 5)
    synthesized: int = 100_000  # transitions
    trained: tuple[int, ...] = (64, 256)  # batch sizes
    seeds: tuple[int, ...] = (1, 4, 16, 64)
    hidden: tuple[int, ...] = (256, 256)  # of learners
    episodes: tuple[int, ...] = (1_000, 10_000)  # of the data set that is loaded
    scale_transitions: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    scale_data: tuple[int, ...] = (30_000, 100_000, 300_000, 1_000_000)
    scale_seeds: tuple[int, ...] = (1, 2, 4, 8, 16)
    scale_horizons: tuple[int, ...] = (8, 16, 32, 64)
    scale_widths: tuple[int, ...] = (32, 64, 128)
    collected: int = 20_000  # steps of the data that the whole run is of
    run: dict[str, Any] = field(  # what the whole run changes of configs/quickstart.py
        default_factory=lambda: {
            "world_model.steps": 500,
            "inverse_dynamics.steps": 500,
            "one_step_model.steps": 500,
            "synthesis.transitions": 20_000,
            "updates": 1_000,
            "evaluate_every": 1_000,
            "evaluation_episodes": 1,
            "log_every": 10,  # updates until the first step is told
            "checkpoint_every": 500,
            "measurement.windows": 512,
            "measurement.judged": 128,
        }
    )


PROCESSOR = Scope()
ACCELERATOR = Scope(
    flops_a_call=2e13,
    updates=1_000,
    least_updates=1_000,
    copied=2**32,
    products=((8192, 8192), (16384, 4096), (65536, 1024)),
    sampled=(1_024, 8_192, 65_536),
    synthesized=1_000_000,
    trained=(64, 256, 2048),
    scale_data=(100_000, 300_000, 1_000_000, 3_000_000),
    scale_seeds=(1, 4, 16, 64),
    scale_widths=(64, 128, 256),
)
SMOKE = Scope(
    transitions=400,
    flops_a_call=1.0,
    updates=2,
    least_updates=2,
    copied=2**12,
    products=((64, 64),),
    sampled=(4,),
    sampling_steps=(3,),
    synthesized=12,
    trained=(8,),
    seeds=(1,),
    hidden=(16, 16),
    episodes=(4,),
    scale_transitions=(12,),
    scale_data=(200, 400),
    scale_seeds=(2,),
    scale_horizons=(4,),
    scale_widths=(),
    collected=400,
    run={
        "learners": "bc",
        "sources": "real",
        "seeds": 1,
        "updates": 4,
        "evaluate_every": 4,
        "evaluation_episodes": 1,
        "log_every": 2,
        "bc.hidden": "(8,)",
    },
)


@dataclass(frozen=True)
class Peers:
    """Their environment, and the versions of what is in it."""

    folder: Path
    versions: dict[str, str]


@dataclass(frozen=True)
class Options:
    """What is asked for."""

    suites: tuple[str, ...]
    sizes: tuple[str, ...]
    scope: Scope
    peers: Peers | None = None
    protocol: Protocol = field(default_factory=Protocol)
    budget: float = 540.0  # seconds a suite
    only: str = ""  # what the groups that are measured have in their description

    @classmethod
    def of_this_machine(cls, smoke: bool, rounds: int, **asked: Any) -> "Options":
        """The ranges that fit the device at hand; with `smoke` the least of everything."""
        if smoke:
            protocol = Protocol(rounds=1, least_rounds=1, seconds=0.0, attempts=1)
            return cls(scope=SMOKE, protocol=protocol, **asked)
        scope = PROCESSOR if jax.default_backend() == "cpu" else ACCELERATOR
        return cls(scope=scope, protocol=replace(Protocol(), rounds=rounds), **asked)
