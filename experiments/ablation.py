"""Which world model, sampled how? Several kinds, trained alike and measured as in a run.

    python -m experiments.ablation \
        --config=experiments/configs/small.py:local/hopper/medium-replay-v0 \
        --config.dawm.world_model.steps=4000

Writes what is measured of each kind (see fidelity.rollouts in docs/results.md) and how many
transitions a second it generates to ablation.json in the run's folder, and prints a table.
`--kinds` selects some of them.
"""

from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from absl import app, flags
from ml_collections import ConfigDict

from dawm_jax.errors import require_choice
from experiments.launch import PROFILE, launch, parse

if TYPE_CHECKING:
    from dawm_jax.sources import DAWM
    from experiments.run.context import Run

KINDS = flags.DEFINE_list(
    "kinds", [], "Kinds to train and measure, by name and separated by commas (default: all)."
)

SAMPLING = "dawm.sampling"
PAPER = {  # N, temperature and guidance of DAWM (Li et al. 2025)
    f"{SAMPLING}.sampling_steps": 3,
    f"{SAMPLING}.temperature": 0.5,
    f"{SAMPLING}.guidance_scale": 1.2,
}
TRAINED: dict[str, dict[str, Any]] = {
    "increments x0": {},
    "increments v": {"dawm.world_model.parameterization": "v"},
    "increments epsilon": {"dawm.world_model.parameterization": "epsilon"},
    "displacements x0": {"dawm.world_model.observation_target": "displacement"},
    "states x0": {"dawm.world_model.observation_target": "absolute"},
    "increments x0 K=20": {
        "dawm.world_model.diffusion_steps": 20,
        f"{SAMPLING}.sampling_steps": 20,
        f"{SAMPLING}.temperature": 1.0,
    },
    "increments elucidated": {
        "dawm.world_model.schedule": "elucidated",
        "dawm.world_model.parameterization": "preconditioned",
        f"{SAMPLING}.sampling_steps": 16,
        f"{SAMPLING}.temperature": 1.0,
    },
    "increments flow": {
        "dawm.world_model.schedule": "flow",
        "dawm.world_model.parameterization": "velocity",
        f"{SAMPLING}.sampler": "ddim",
        f"{SAMPLING}.sampling_steps": 10,
        f"{SAMPLING}.temperature": 1.0,
    },
    "states epsilon quantile": {
        "dawm.world_model.observation_target": "absolute",
        "dawm.world_model.parameterization": "epsilon",
        "dawm.world_model.observation_normalizer": "quantile",
        "dawm.world_model.reward_normalizer": "minmax",
    },
}
SAMPLED: dict[str, dict[str, Any]] = {  # of the first, which is not trained again
    "as the paper": PAPER,
    "as the paper with all 5 steps": {**PAPER, f"{SAMPLING}.sampling_steps": 5},
    "as the paper with DDIM": {**PAPER, f"{SAMPLING}.sampler": "ddim"},
    "temperature 1": {f"{SAMPLING}.temperature": 1.0},
    "temperature 1.5": {f"{SAMPLING}.temperature": 1.5},
    "guidance 1.2": {f"{SAMPLING}.guidance_scale": 1.2},
}


def ablate(config: ConfigDict, workdir: Path, kinds: list[str], profile: bool = False) -> None:
    """Trains and measures each kind (default: all); writes ablation.json in the run's folder."""
    # Here, because the processes that record data import this module and need none of it.
    from dawm_jax.sources import DAWM
    from experiments import pipeline
    from experiments.reporting.tables import ablation
    from experiments.stages import measure, models
    from experiments.store.files import write_json
    from experiments.system.processes import on_first
    from experiments.system.provenance import versions

    every, rows = {**TRAINED, **SAMPLED}, []
    for name in kinds:
        require_choice("kind", name, every)
    for name, changes in every.items():
        if kinds and name not in kinds:
            continue
        print(f"== {name}", flush=True)
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(changes)
        changed.sources = ("dawm",)
        run = pipeline.prepare(changed, workdir, profile)
        source = run.components.sources["dawm"]
        assert isinstance(source, DAWM)
        trained = models.train_models(run, source)
        fidelity, _ = measure.measure_rollouts(run, "dawm", source, trained)
        rate = transitions_per_second(run, source, models.states_of(trained))
        world_model = models.summary(trained["world_model"])
        row = {"name": name, "changes": changes, "world_model": world_model}
        rows.append({**row, "fidelity": fidelity, "transitions_per_second": rate})
    results = {"config": config.to_dict(), "versions": versions(), "rows": rows}
    on_first(write_json, workdir / "ablation.json", results)
    print(ablation(results))


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
    launch(lambda config, workdir: ablate(config, workdir, KINDS.value, PROFILE.value))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
