"""Sizes that follow from the device's memory: chosen once for a stage, and kept in its folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from dawm_jax.sources.generate import Synthesis, fitting_chunk
from dawm_jax.training.devices import device_mesh
from experiments.run.context import Run
from experiments.store import files
from experiments.system.processes import on_first


def sized(run: Run, name: str, folder: Path, model_state: Any, idm_state: Any) -> Synthesis:
    """The settings of synthesis, with the windows at once of the stage `name` in `folder`.

    They are what the config sets, or else what an earlier process kept there, or what fits now.
    """
    settings = run.components.synthesis

    def kept() -> int:
        path = folder / "chunk.json"
        if not files.sound(path, name):
            models = (run.components.world_model, model_state)
            inference = (run.components.inverse_dynamics, idm_state)
            chunk = fitting_chunk(*models, *inference, run.dataset, settings, device_mesh())
            print(f"{name}: {chunk} windows at once", flush=True)
            files.write_sealed_json(path, {"windows": chunk})
        return json.loads(path.read_text())["windows"]

    return settings if settings.chunk else replace(settings, chunk=on_first(kept))
