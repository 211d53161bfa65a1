"""What the training loop trains, and on what."""

from typing import Any, ClassVar, Protocol

from dawm_jax.types import Array

Metrics = dict[str, Array]


class Component(Protocol):
    """A trainable model or learner: settings, with pure functions of a state."""

    version: ClassVar[int]  # incremented when a code change changes its results

    @property
    def steps(self) -> int:
        """The total number of updates."""

    @property
    def updates_per_step(self) -> int:
        """Updates per call of `update`."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading dimensions of the batch for one call of `update`."""

    def update(self, state: Any, batch: Any, key: Array) -> tuple[Any, Metrics]:
        """The state after one call of `updates_per_step` updates, and scalar metrics."""


class Model(Component, Protocol):
    """A component that a source trains."""

    def init(self, key: Array, data: Any) -> Any:
        """An initial state for the data that it will be trained on."""


class Data(Protocol):
    """Data on the device to draw batches from; see `feeding` for data too large for it."""

    def sample(self, key: Array, shape: tuple[int, ...]) -> Any:
        """A batch of leading dimensions `shape`."""
