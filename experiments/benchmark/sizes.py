"""The models that are measured, named after the config that holds their settings."""

from dataclasses import replace
from functools import cache
from typing import Any

from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.sources import DAWM
from experiments.benchmark import flops
from experiments.configs import paper, small, tiny
from experiments.run.config import build

SIZES = {"tiny": tiny, "small": small, "paper": paper}
LOW_PRECISION = "bfloat16"


@cache
def source(size: str) -> DAWM:
    """DAWM with the settings of a config."""
    config = SIZES[size].get_config()
    config.sources = ("dawm",)
    built = build(config).sources["dawm"]
    assert isinstance(built, DAWM)
    return built


def world_model(size: str, **changes: Any) -> WorldModel:
    """The world model of a size, with some settings changed."""
    return replace(source(size).world_model, **changes)


def unet_layers(model: WorldModel, observation: int, action: int) -> list[flops.Product]:
    """The layers of the world model's network, for one window.

    Args:
        observation: dimensions of an observation.
        action: dimensions of an action.
    """
    assert model.diffused == ("observation", "reward")
    outputs = observation + 1
    inputs = outputs if model.observation_target == "absolute" else outputs + observation
    return flops.temporal_unet(
        model.horizon, inputs, outputs, action, model.width, model.multipliers
    )


def inverse_dynamics_layers(
    hidden: tuple[int, ...], observation: int, action: int
) -> list[flops.Product]:
    """The layers of an inverse dynamics model, for one pair of states."""
    return flops.mlp(2 * observation, *hidden, action)
