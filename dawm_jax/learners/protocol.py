"""What every learner is, and the pieces they share."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from dawm_jax.data.normalizer import varies
from dawm_jax.errors import require
from dawm_jax.networks.initialization import Initialization, Uniform
from dawm_jax.settings import (
    BatchSize,
    Count,
    Factor,
    LearningRate,
    Rows,
    Width,
    check_settings,
)
from dawm_jax.training.protocol import Component, Metrics
from dawm_jax.types import Array, Dataset, Transition

Part = TypeVar("Part")


class DataStatistics(struct.PyTreeNode):
    """What a learner is told of the recorded data; synthetic data never enter it."""

    observation_mean: Array  # (observation_dim,)
    observation_std: Array  # (observation_dim,)
    return_range: Array  # () best minus worst episode return
    action_dim: int = struct.field(pytree_node=False)

    @classmethod
    def of(cls, dataset: Dataset) -> "DataStatistics":
        """The statistics of the recorded steps and episodes."""
        acted = np.asarray(dataset.episodes.steps_left) > 0
        observation = np.asarray(dataset.episodes.observation, np.float64)[acted]
        deviation = np.where(varies(observation), observation.std(0), 1.0)
        return cls(
            observation_mean=jnp.asarray(observation.mean(0), jnp.float32),
            observation_std=jnp.asarray(deviation, jnp.float32),
            return_range=jnp.float32(dataset.returns.max() - dataset.returns.min()),
            action_dim=dataset.action_dim,
        )

    def normalize(self, observation: Array) -> Array:
        """As in TD3+BC (Fujimoto & Gu 2021, section 5), but in any unit: without 1e-3 added."""
        return (observation - self.observation_mean) / self.observation_std

    def normalize_batch(self, batch: Transition) -> Transition:
        """`batch` with both of its observations normalized."""
        return batch.replace(
            observation=self.normalize(batch.observation),
            next_observation=self.normalize(batch.next_observation),
        )


class Learner(Component, Protocol):
    """A one-step offline learner: settings, and pure functions over a state of its own.

    A state is one seed's; many seeds are states stacked along a leading axis.
    """

    def init(self, key: Array, statistics: DataStatistics) -> Any:
        """A new state."""

    def update(self, state: Any, batch: Transition, key: Array) -> tuple[Any, Metrics]:
        """The state after `updates_per_step` updates, and scalar metrics.

        Args:
            batch: recorded rows of leading dimensions `batch_shape`; synthetic ones may follow
                them along the last of these.
        """

    def act(self, state: Any, observation: Array, policy: str = "averaged") -> Array:
        """Actions (..., action_dim) in [-1, 1] for evaluation, without noise.

        Args:
            policy: 'averaged', of the moving average of the policy's parameters over the updates,
                or 'last', of the parameters after the last update.
        """


@dataclass(frozen=True)
class LearnerSettings:
    """Settings common to all learners; the defaults are those of TD3+BC and IQL.

    Raises:
        UserError: a setting is out of range.
    """

    steps: Count = 1_000_000
    batch_size: BatchSize = 256  # recorded rows; synthetic ones come on top
    hidden: tuple[Width, ...] = (256, 256)  # of each hidden layer of every network
    learning_rate: LearningRate = 3e-4
    polyak_step_size: Factor = 0.005  # of target networks and of the averaged policy
    policy_rows: Rows = "all"  # of a batch, in the policy's loss

    version: ClassVar[int]
    policy_initialization: ClassVar[Initialization] = Uniform()

    def __post_init__(self) -> None:
        check_settings(self)
        require(
            len(self.hidden) > 0,
            f"{type(self).__name__}.hidden is (); it must have the width of at least one hidden "
            "layer, e.g. (256, 256)",
        )

    @property
    def updates_per_step(self) -> int:
        return 1

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.batch_size,)

    def _rows(self, rows: str, batch: Part) -> Part:
        """Those rows of a batch (B, ...): 'all', or the 'recorded' ones, which come first."""
        if rows == "all":
            return batch
        return jax.tree.map(lambda leaf: leaf[: self.batch_size], batch)

    def _polyak(self, params: optax.Params, average: optax.Params) -> optax.Params:
        """The moving average after one more update."""
        return optax.incremental_update(params, average, self.polyak_step_size)

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)


def twin_loss(q: Array, target: Array) -> Array:
    """Sum of the two critics' mean squared errors, of q (2, B) against the target (B,)."""
    chex.assert_equal_shape([q[0], target])
    return jnp.sum(jnp.mean((q - target) ** 2, axis=-1))


def split_mean(name: str, value: Array, recorded: Array) -> Metrics:
    """Means of `value` (B,) over recorded and over synthetic rows, 0 where there are none."""
    recorded_rows, all_rows = jnp.sum(recorded), recorded.size
    sum_recorded, sum_all = jnp.sum(value * recorded), jnp.sum(value)
    return {
        f"{name}_recorded": sum_recorded / jnp.maximum(recorded_rows, 1),
        f"{name}_synthetic": (sum_all - sum_recorded) / jnp.maximum(all_rows - recorded_rows, 1),
    }
