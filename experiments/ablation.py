"""Which world model at a small budget? Several kinds, trained alike and measured as in a run.

    python -m experiments.ablation \
        --config=experiments/configs/small.py:local/hopper/medium-replay-v0 \
        --config.dawm.world_model.steps=4000 --out=ablation.json

Writes what is measured of each kind (see fidelity.rollouts in docs/results.md) and prints a table.
"""

from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict

from experiments.launch import PROFILE, launch, parse

OUT = flags.DEFINE_string("out", "ablation.json", "File of the results.")

TRAINED = {
    "increments, x0": {},
    "increments, v": {"dawm.world_model.parameterization": "v"},
    "increments, epsilon": {"dawm.world_model.parameterization": "epsilon"},
    "displacements, x0": {"dawm.world_model.observation_target": "displacement"},
    "states, x0": {"dawm.world_model.observation_target": "absolute"},
    "states, epsilon, quantile": {
        "dawm.world_model.observation_target": "absolute",
        "dawm.world_model.parameterization": "epsilon",
        "dawm.world_model.observation_normalizer": "quantile",
        "dawm.world_model.reward_normalizer": "minmax",
    },
}
SAMPLED = {  # of the first, which is not trained again
    "all 5 steps": {"dawm.sampling.sampling_steps": 5},
    "DDIM": {"dawm.sampling.sampler": "ddim"},
    "temperature 1": {"dawm.sampling.temperature": 1.0},
    "no guidance": {"dawm.sampling.guidance_scale": 1.0},
}


def ablate(config: ConfigDict, workdir: Path, out: Path, profile: bool = False) -> None:
    """Trains and measures each kind, and writes the file of the results, `out`."""
    # Here, because the processes that record data import this module and need none of it.
    from dawm_jax.sources import RolloutSource
    from experiments import pipeline
    from experiments.reporting.tables import ablation
    from experiments.stages import measure, models
    from experiments.store.files import write_json
    from experiments.system.processes import on_first
    from experiments.system.provenance import versions

    rows = []
    for name, changes in {**TRAINED, **SAMPLED}.items():
        print(f"== {name}", flush=True)
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(changes)
        changed.sources = ("dawm",)
        run = pipeline.prepare(changed, workdir, profile)
        source = run.components.sources["dawm"]
        assert isinstance(source, RolloutSource)
        trained = models.train_models(run, source)
        fidelity, _ = measure.measure_rollouts(run, "dawm", source, trained)
        world_model = models.summary(trained["world_model"])
        row = {"name": name, "changes": changes, "world_model": world_model}
        rows.append({**row, "fidelity": fidelity})
    results = {"config": config.to_dict(), "versions": versions(), "rows": rows}
    on_first(write_json, out, results)
    print(ablation(results))


def main(_: list[str]) -> None:
    launch(lambda config, workdir: ablate(config, workdir, Path(OUT.value), PROFILE.value))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
