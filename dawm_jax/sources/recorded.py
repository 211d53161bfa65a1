"""The recorded data alone: the model-free baseline."""

from dataclasses import dataclass
from typing import Any, ClassVar

from dawm_jax.sources.base import States
from dawm_jax.training.protocol import Data, Model
from dawm_jax.types import Array, Dataset, Transition


@dataclass(frozen=True)
class Recorded:
    """Adds no transitions to the recorded ones."""

    version: ClassVar[int] = 1

    def models(self) -> dict[str, Model]:
        return {}

    def data(self, name: str, dataset: Dataset) -> Data:
        raise KeyError(name)

    def units(self, transitions: int) -> int:
        return 0

    def inputs(self, dataset: Dataset) -> None:
        return None

    def calibrate(self, states: States, inputs: None, key: Array) -> None:
        return None

    def generate(
        self, states: States, inputs: Any, index: Array, key: Array
    ) -> tuple[Transition, Array]:
        raise NotImplementedError("the source of recorded data generates no transitions")
