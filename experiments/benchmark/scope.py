"""The ranges that the suites cover: on a CPU, on an accelerator, and in a smoke test."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from experiments.benchmark.measure import Protocol


@dataclass(frozen=True)
class Scope:
    """Ranges; a suite runs its small cases first and continues as far as the budget allows."""

    transitions: int = 1_000_000  # in the random data
    flops_per_call: float = 5e10  # of model training and of the roofline: about 0.2 s
    updates: int = 100  # of a learner with one seed, per call
    min_updates: int = 4  # of each of many seeds, per call
    copy_bytes: int = 2**28
    product_shapes: tuple[tuple[int, int], ...] = ((2048, 2048), (4096, 1024), (1024, 512))
    sampling_batches: tuple[int, ...] = (16, 128, 1024)  # windows
    sampling_steps: tuple[int, ...] = (1, 3, 5)
    synthetic_transitions: int = 100_000
    training_batches: tuple[int, ...] = (64, 256)
    seeds: tuple[int, ...] = (1, 4, 16, 64)
    hidden: tuple[int, ...] = (256, 256)  # of learners
    episodes: tuple[int, ...] = (1_000, 10_000)  # in the data set of the loading suite
    scale_transitions: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    scale_data: tuple[int, ...] = (30_000, 100_000, 300_000, 1_000_000)
    scale_seeds: tuple[int, ...] = (1, 2, 4, 8, 16)
    scale_horizons: tuple[int, ...] = (8, 16, 32, 64)
    scale_widths: tuple[int, ...] = (32, 64, 128)
    recorded_steps: int = 20_000  # in the data set of the pipeline suite
    # Where the runs of the pipeline suite differ from configs/quickstart.py.
    run_settings: dict[str, Any] = field(
        default_factory=lambda: {
            "dawm.world_model.steps": 500,
            "dawm.inverse_dynamics.steps": 500,
            "fidelity.one_step_model.steps": 500,
            "synthesis.transitions": 20_000,
            "max_distance": 1e6,  # such models would be left out
            "updates": 1_000,
            "evaluate_every": 1_000,
            "evaluation_episodes": 1,
            "log_every": 10,  # updates until the first step is reported
            "checkpoint_every": 500,
            "fidelity.windows": 512,
            "fidelity.judged": 128,
        }
    )


CPU = Scope()
ACCELERATOR = Scope(
    flops_per_call=2e13,
    updates=1_000,
    min_updates=1_000,
    copy_bytes=2**32,
    product_shapes=((8192, 8192), (16384, 4096), (65536, 1024)),
    sampling_batches=(1_024, 8_192, 65_536),
    synthetic_transitions=1_000_000,
    training_batches=(64, 256, 2048),
    scale_data=(100_000, 300_000, 1_000_000, 3_000_000),
    scale_seeds=(1, 4, 16, 64),
    scale_widths=(64, 128, 256),
)
SMOKE = Scope(
    transitions=400,
    flops_per_call=1.0,
    updates=2,
    min_updates=2,
    copy_bytes=2**12,
    product_shapes=((64, 64),),
    sampling_batches=(4,),
    sampling_steps=(3,),
    synthetic_transitions=12,
    training_batches=(8,),
    seeds=(1,),
    hidden=(16, 16),
    episodes=(4,),
    scale_transitions=(12,),
    scale_data=(200, 400),
    scale_seeds=(2,),
    scale_horizons=(4,),
    scale_widths=(),
    recorded_steps=400,
    run_settings={
        "learners": "bc",
        "sources": "recorded",
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
    """The Python environment of the peers and the versions of its packages."""

    folder: Path
    versions: dict[str, str]


@dataclass(frozen=True)
class Options:
    """The choices of one benchmark run."""

    suites: tuple[str, ...]
    sizes: tuple[str, ...]
    scope: Scope
    peers: Peers | None = None
    protocol: Protocol = field(default_factory=Protocol)
    budget: float = 540.0  # seconds per suite
    overtime: float = 0.0  # seconds beyond the budget in which a group may still be measured
    growth: float = 2.0  # the longest time of the next group, over that of the longest so far
    alternatives: bool = True  # whether the loop of one jitted update a call is measured, too
    only: str = ""  # text that the description of a measured group contains

    @classmethod
    def for_device(cls, smoke: bool, rounds: int, **choices: Any) -> "Options":
        """Options with the ranges for JAX's default device, or with the smallest for `smoke`."""
        if smoke:
            protocol = Protocol(rounds=1, min_rounds=1, seconds=0.0, attempts=1)
            return cls(scope=SMOKE, protocol=protocol, **choices)
        scope = CPU if jax.default_backend() == "cpu" else ACCELERATOR
        return cls(scope=scope, protocol=replace(Protocol(), rounds=rounds), **choices)
