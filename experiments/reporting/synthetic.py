"""What exported data say of themselves."""

import json
from dataclasses import asdict
from typing import Any

import dawm_jax
from dawm_jax.sources import RolloutSource
from experiments.fidelity.description import describe
from experiments.run.context import Run


def about(
    run: Run, name: str, source: RolloutSource, steps: int, facts: dict[str, Any]
) -> dict[str, Any]:
    """The metadata of exported episodes; its fields: docs/export.md.

    Args:
        name: of the source.
        steps: of an episode that does not end before.
        facts: the record of the stage that made them.
    """
    environment = run.dataset.environment
    return {
        "generator": f"dawm-jax {dawm_jax.__version__}",
        "source": name,
        "recorded": run.dataset.id,
        "environment": environment.id if environment else None,
        "reference_scores": run.dataset.reference_scores,
        "run": run.workdir.resolve().name,
        "commit": facts["commit"],
        "transitions": facts["transitions"],
        "episodes": facts["episodes"],
        "episode_steps": steps,
        "predicted_ends": facts["predicted_ends"],
        "return_mean": facts["return_mean"],
        "length_mean": facts["length_mean"],
        "settings": {
            "seed": run.config.seed,
            "held_out": run.config.held_out,
            "discount": run.dataset.discount,
            "return_scale": run.dataset.return_scale,
            **asdict(source),  # type: ignore[call-overload]
        },
        "fidelity": _fidelity(run, name),
    }


def _fidelity(run: Run, name: str) -> dict[str, Any] | None:
    """The figures of a source in the run's results; None if there are none yet."""
    path = run.workdir / "results.json"
    if not path.exists():
        return None
    return json.loads(path.read_text())["sources"].get(name, {}).get("fidelity")


def fidelity_text(synthetic: dict[str, Any]) -> str:
    """The figures of `about` in words."""
    fidelity = synthetic["fidelity"]
    rollouts = fidelity and fidelity["rollouts"]
    return describe(rollouts) if rollouts else "not measured: the run has no results of this source"
