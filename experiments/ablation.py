"""Which world model at a small budget? Several kinds, trained alike and measured as in a run.

    python -m experiments.ablation \
        --config=experiments/configs/small.py:local/hopper/medium-replay-v0 \
        --config.world_model.steps=4000 --out=ablation.json

Writes what is measured of each kind (see synthesis.fidelity in docs/results.md) and prints a table.
"""

from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict

from experiments.main import PROFILE, launch, parse

OUT = flags.DEFINE_string("out", "ablation.json", "File of the results.")

TRAINED = {
    "increments, x0": {},
    "increments, v": {"world_model.parameterization": "v"},
    "increments, epsilon": {"world_model.parameterization": "epsilon"},
    "displacements, x0": {"world_model.observation_target": "displacement"},
    "states, x0": {"world_model.observation_target": "absolute"},
    "states, epsilon, quantile": {
        "world_model.observation_target": "absolute",
        "world_model.parameterization": "epsilon",
        "world_model.observation_normalizer": "quantile",
        "world_model.reward_normalizer": "minmax",
    },
}
SAMPLED = {  # of the first, which is not trained again
    "all 5 steps": {"synthesis.sampling_steps": 5},
    "DDIM": {"synthesis.sampler": "ddim"},
    "temperature 1": {"synthesis.temperature": 1.0},
    "no guidance": {"synthesis.guidance_scale": 1.0},
}


def ablate(config: ConfigDict, workdir: Path, out: Path, profile: bool = False) -> None:
    """Trains and measures each kind, and writes the file of the results, `out`."""
    # Here, because the processes that record data import this module and need none of it.
    from experiments import pipeline
    from experiments.reporting.tables import ablation
    from experiments.stages import models
    from experiments.store.files import write_json
    from experiments.system.processes import on_first
    from experiments.system.provenance import versions

    rows = []
    for name, changes in {**TRAINED, **SAMPLED}.items():
        print(f"== {name}", flush=True)
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(changes)
        run = pipeline.prepare(changed, workdir, profile)
        world_model = models.train_world_model(run)
        fidelity, _ = models.measure(run, world_model, models.train_inverse_dynamics(run))
        row = {"name": name, "changes": changes, "world_model": models.summary(world_model)}
        rows.append({**row, "fidelity": fidelity})
    results = {"config": config.to_dict(), "versions": versions(), "rows": rows}
    on_first(write_json, out, results)
    print(ablation(results))


def main(_: list[str]) -> None:
    launch(lambda config, workdir: ablate(config, workdir, Path(OUT.value), PROFILE.value))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
