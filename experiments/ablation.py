"""Which world model, sampled how? Several kinds, trained alike and measured as in a run.

    python -m experiments.ablation \
        --config=experiments/configs/small.py:local/hopper/medium-replay-v0 \
        --config.dawm.world_model.steps=4000

Writes what is measured of each kind (see fidelity.rollouts in docs/results.md) and how many
transitions a second it generates to ablation.json in the run's folder, and prints a table.
`--kinds` selects some of them. All but the paper's are sampled at the temperature at which
rollouts from one state spread as much as they err, so rates are those of equally varied samples.
"""

from bisect import bisect_left
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from dawm_jax.errors import require, require_choice
from experiments.launch import PROFILE, launch, parse

if TYPE_CHECKING:
    from dawm_jax.data.windows import WindowSet
    from dawm_jax.sources import DAWM
    from experiments.run.context import Run

SELECTED = flags.DEFINE_list(
    "kinds", [], "Kinds to train and measure, by name and separated by commas (default: all)."
)

SAMPLING = "dawm.sampling"
TEMPERATURE = f"{SAMPLING}.temperature"
TEMPERATURES = (0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 4.0)
K20 = {"dawm.world_model.diffusion_steps": 20}
ELUCIDATED = {
    "dawm.world_model.schedule": "elucidated",
    "dawm.world_model.parameterization": "preconditioned",
}
FLOW = {
    "dawm.world_model.schedule": "flow",
    "dawm.world_model.parameterization": "velocity",
    f"{SAMPLING}.sampler": "ddim",
}
SECOND_ORDER = {f"{SAMPLING}.sampler": "dpm_solver_2m"}


def visits(times: int) -> dict[str, Any]:
    """The setting for samples that visit so many times."""
    return {f"{SAMPLING}.sampling_steps": times}


KINDS: dict[str, dict[str, Any]] = {  # those of equal world models share its training
    "increments x0": {},
    "increments x0 2 of 5 times": visits(2),
    "increments x0 as the paper": {  # N, temperature and guidance of DAWM (Li et al. 2025)
        **visits(3),
        TEMPERATURE: 0.5,
        f"{SAMPLING}.guidance_scale": 1.2,
    },
    "increments x0 3 of 5 times": visits(3),
    "increments x0 DDIM": {f"{SAMPLING}.sampler": "ddim"},
    "increments x0 guidance 1.2": {f"{SAMPLING}.guidance_scale": 1.2},
    "increments x0 K=20": {**K20, **visits(20)},
    "increments x0 K=20 10 times": {**K20, **visits(10)},
    "increments x0 K=20 second order 10 times": {**K20, **SECOND_ORDER, **visits(10)},
    "increments x0 K=20 second order 5 times": {**K20, **SECOND_ORDER, **visits(5)},
    "increments elucidated 16 times": {**ELUCIDATED, **visits(16)},
    "increments elucidated second order 8 times": {**ELUCIDATED, **SECOND_ORDER, **visits(8)},
    "increments elucidated second order 5 times": {**ELUCIDATED, **SECOND_ORDER, **visits(5)},
    "increments flow 10 times": {**FLOW, **visits(10)},
    "increments flow 5 times": {**FLOW, **visits(5)},
    "increments v": {"dawm.world_model.parameterization": "v"},
    "increments epsilon": {"dawm.world_model.parameterization": "epsilon"},
    "displacements x0": {"dawm.world_model.observation_target": "displacement"},
    "states x0": {"dawm.world_model.observation_target": "absolute"},
    "states epsilon quantile": {
        "dawm.world_model.observation_target": "absolute",
        "dawm.world_model.parameterization": "epsilon",
        "dawm.world_model.observation_normalizer": "quantile",
        "dawm.world_model.reward_normalizer": "minmax",
    },
}


def ablate(config: ConfigDict, workdir: Path, kinds: list[str], profile: bool = False) -> None:
    """Trains and measures each kind (default: all); writes ablation.json after each of them.

    A kind that names no temperature is sampled at its calibrated one (see `calibrated`).

    Raises:
        UserError: a kind is unknown, no held-out episode contains a window, or `fidelity.samples`
            is 1, so that nothing can spread.
    """
    # Here, because the processes that record data import this module and need none of it.
    import jax

    from dawm_jax.sources import DAWM
    from experiments import pipeline
    from experiments.fidelity.held_out import held_out_windows
    from experiments.reporting.tables import ablation
    from experiments.stages import measure, models
    from experiments.store.files import write_json
    from experiments.system.processes import on_first
    from experiments.system.provenance import versions

    for name in kinds:
        require_choice("kind", name, KINDS)
    samples = config.fidelity.samples
    require(samples > 1, f"fidelity.samples is {samples}, but a spread takes 2 or more")
    rows = []
    for name in kinds or KINDS:
        changes = KINDS[name]
        print(f"== {name}", flush=True)
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(changes)
        changed.sources = ("dawm",)
        run = pipeline.prepare(changed, workdir, profile)
        source = run.components.sources["dawm"]
        assert isinstance(source, DAWM)
        windows = held_out_windows(run, source)
        require(
            windows is not None,
            "kinds are measured on held-out episodes, none of which contains a window of "
            f"{source.steps + 1} states: raise 'held_out', or take a data set of longer episodes",
        )
        assert windows is not None
        trained = models.train_models(run, source)
        states = models.states_of(trained)
        if TEMPERATURE not in changes:
            source = calibrated(run, source, states, windows)
        fidelity, _ = measure.measure_rollouts(run, "dawm", source, trained)
        rate = transitions_per_second(run, source, states)
        world_model = models.summary(trained["world_model"])
        row = {"name": name, "changes": changes, "temperature": source.sampling.temperature}
        row |= {"world_model": world_model, "fidelity": fidelity, "transitions_per_second": rate}
        rows.append(row)
        results = {"config": config.to_dict(), "versions": versions(), "rows": rows}
        on_first(write_json, workdir / "ablation.json", results)
        # Compiled programs hold memory mappings, of which Linux allows a process 65,530.
        jax.clear_caches()
    print(ablation(results))


def calibrated(run: "Run", source: "DAWM", states: dict[str, Any], windows: "WindowSet") -> "DAWM":
    """The source at that one of `TEMPERATURES` whose states spread most nearly as much as they err.

    By the mean of the steps' ratios, which grows with the temperature, from other held-out
    `windows` than the measurement's.
    """
    from experiments.fidelity.held_out import spread

    def at(temperature: float) -> "DAWM":
        return replace(source, sampling=replace(source.sampling, temperature=temperature))

    @cache
    def ratio(temperature: float) -> float:
        report = spread(run, at(temperature), states, windows, None, "calibration")
        return float(np.mean([one for one in report["states"]["pooled"] if one is not None]))

    above = bisect_left(TEMPERATURES, 1.0, key=ratio)
    nearest = TEMPERATURES[max(above - 1, 0) : above + 1]
    return at(min(nearest, key=lambda temperature: abs(np.log(ratio(temperature)))))


def transitions_per_second(run: "Run", source: "DAWM", states: dict[str, Any]) -> float:
    """The rate of one compiled chunk of the source."""
    from dawm_jax.sources.generate import default_chunk, synthesize

    units = run.components.synthesis.chunk or default_chunk()
    settings = replace(run.components.synthesis, transitions=units * source.steps)
    seconds = []
    for _ in range(2):  # the first compiles
        started = monotonic()
        synthetic = synthesize(source, states, run.dataset, settings, run.key("rate"))
        seconds.append(monotonic() - started)
    return len(synthetic.reward) / seconds[-1]


def main(_: list[str]) -> None:
    launch(lambda config, workdir: ablate(config, workdir, SELECTED.value, PROFILE.value))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
