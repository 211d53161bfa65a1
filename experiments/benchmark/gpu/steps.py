"""The steps of the campaign on a borrowed GPU, most valuable first, and what each measures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.benchmark import campaign
from experiments.benchmark.gpu import task
from experiments.benchmark.gpu.correctness import write_correctness
from experiments.benchmark.scope import Options
from experiments.system.machine import check_devices, share_cores


@dataclass(frozen=True)
class Step:
    """A part of the campaign, in a process of its own.

    `share` is its part of the time that is left, beside the shares of the steps after it. It is
    skipped if fewer than `least` seconds are left.
    """

    name: str
    share: float
    least: float


END = 3.0  # seconds that a process needs to write its results and to end
STEPS = (
    Step("correctness", 5, 40),
    Step("sampling", 5, 40),
    Step("learners", 4, 30),
    Step("world_model", 4, 40),
    Step("task", 4, 45),
)
SMOKE_STEPS = tuple(replace(step, least=15) for step in STEPS)
OUT_OF_TIME = 124  # the exit status of a step that had not enough time, as of timeout(1)
SCOPE: dict[str, Any] = {  # fewer cases than in a run of its own, shorter, most valuable first
    "seeds": (1, 16),
    "sampling_batches": (8_192, 1_024, 128),
    "training_batches": (256, 64),
    "flops_per_call": 2e12,
    "product_shapes": ((8192, 8192),),
}


def measure_step(name: str, out: Path, budget: float, limit: float, smoke: bool) -> list[str]:
    """Measures a step, writes its file, returns what failed.

    Args:
        budget: seconds in which groups of measurements are begun.
        limit: seconds after which the process is stopped.

    Raises:
        UserError: the device or the data are unusable, or a run failed.
    """
    if name == "task":  # in a process of its own, which needs the whole device
        return task.write_task(out, limit - END, smoke)
    share_cores(1)
    check_devices()
    options = step_options(name, budget, limit, smoke)
    if name == "correctness":
        return write_correctness(options.sizes[0], options.scope.hidden, out)
    return campaign.write_results(options, out)["failed"]


def step_options(name: str, budget: float, limit: float, smoke: bool) -> Options:
    """The suite of the step's name at the paper's size, shortened; in a smoke test the smallest."""
    suite = "sampling" if name == "correctness" else name
    sizes = () if smoke else ("paper",)
    options = campaign.build_options(
        (suite,), sizes, peers=None, budget=budget, rounds=3, smoke=smoke
    )
    options = replace(options, growth=1.2, overtime=limit - budget - END, alternatives=False)
    if smoke:
        return options
    protocol = replace(options.protocol, min_rounds=1, seconds=0.3)
    return replace(options, protocol=protocol, scope=replace(options.scope, **SCOPE))
