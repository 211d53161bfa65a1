"""The sources of transitions, by the name a config gives them."""

from collections.abc import Callable

from dawm_jax.sources.base import ReturnTarget, RolloutSource, Source
from dawm_jax.sources.dawm import DAWM
from dawm_jax.sources.one_step import OneStep
from dawm_jax.sources.recorded import Recorded

SOURCES: dict[str, Callable[..., Source]] = {
    "recorded": Recorded,
    "dawm": DAWM,
    "one_step": OneStep,
}

__all__ = ["DAWM", "SOURCES", "OneStep", "Recorded", "ReturnTarget", "RolloutSource", "Source"]
