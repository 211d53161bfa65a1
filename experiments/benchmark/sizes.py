"""The models that are measured, by the config that holds their settings."""

from dataclasses import fields, replace
from functools import cache
from typing import Any

from dawm_jax.models.window_diffusion import WorldModel
from experiments.benchmark import flops
from experiments.configs import paper, small, tiny
from experiments.run.config import Components, build

SIZES = {"tiny": tiny, "small": small, "paper": paper}
PRECISION = "compute_dtype"  # the setting of a model that computes in another dtype


@cache
def components(size: str) -> Components:
    """The parts of the config of that name; of the tiny one the network has a single level."""
    config = SIZES[size].get_config()
    if size == "tiny":  # its programs are compiled in half the time
        config.world_model.multipliers = (1,)
    return build(config)


def world_model(size: str, **changes: Any) -> WorldModel:
    """The world model of that size, with changed settings."""
    return replace(components(size).world_model, **changes)


def precisions(model: Any) -> list[dict[str, str]]:
    """The settings beyond float32 that the model offers."""
    offered = PRECISION in {field.name for field in fields(model)}
    return [{PRECISION: "bfloat16"}] if offered else []


def unet_layers(model: WorldModel, observation: int, action: int) -> list[flops.Product]:
    """The layers of its network for one window, by hand."""
    outputs = observation + 2  # reward and terminal
    inputs = outputs if model.observation_target == "absolute" else outputs + observation
    return flops.temporal_unet(
        model.horizon, inputs, outputs, action, model.width, model.multipliers
    )


def inverse_dynamics_layers(
    hidden: tuple[int, ...], observation: int, action: int
) -> list[flops.Product]:
    """The layers of an inverse dynamics model for one pair of states."""
    return flops.mlp(2 * observation, *hidden, action)
