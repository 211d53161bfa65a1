"""The protocol of a source of synthetic transitions, and a base class for rollouts.

A source is a frozen dataclass of settings with pure functions. It does not depend on a learner, so
it runs once and all learners and seeds train on its output.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.errors import require
from dawm_jax.settings import Number, Positive, Share, check_settings
from dawm_jax.training.protocol import Data, Model
from dawm_jax.types import Array, Context, Dataset, Episodes, Transition

States = dict[str, Any]  # the trained states of a source's models, by name


class Source(Protocol):
    """A source of transitions, which come in units: windows, rollouts or rows."""

    version: ClassVar[int]  # incremented when a code change changes its transitions

    def models(self) -> dict[str, Model]:
        """The models that the source trains, by stage name, in order."""

    def data(self, name: str, dataset: Dataset) -> Data:
        """The training data of the model `name`, from the episodes that are not held out."""

    def units(self, transitions: int) -> int:
        """The units that yield `transitions` transitions; 0 for a source that adds none."""

    def inputs(self, dataset: Dataset) -> Any:
        """The part of the data set that `generate` reads, as a pytree of arrays."""

    def calibrate(self, states: States, inputs: Any, key: Array) -> Any:
        """The inputs with what is measured once, before any unit is generated with this key."""

    def generate(
        self, states: States, inputs: Any, index: Array, key: Array
    ) -> tuple[Transition, Array]:
        """The transitions of a batch of units; traced, so every array is an argument.

        Args:
            states: the trained states of `models`.
            inputs: those of `calibrate`.
            index: (B,) numbers of the units. A unit depends only on its number and the key.

        Returns:
            Transitions with arrays (B, n, ...), and whether each is valid, (B, n) bool.
        """


class Starts(struct.PyTreeNode):
    """The recorded steps that rollouts start from; each entry is drawn with equal probability."""

    episodes: Episodes
    rows: Array  # (M,) rows of the recorded steps, repeated where `favored`
    return_to_go: Array  # (M,) the target of each step, in units of the return scale
    discount: Array  # ()
    limit: Array | None = None  # () of what a source drops, if it measures one

    def draw(self, key: Array) -> Array:
        """The number () of one start."""
        return jax.random.randint(key, (), 0, len(self.rows))

    def context(self, number: Array) -> Context:
        """The contexts of the starts `number` (B,)."""
        row = self.rows[number]
        return Context(
            self.episodes.observation[row], self.episodes.action[row], self.return_to_go[number]
        )


@dataclass(frozen=True)
class ReturnTarget:
    """The return-to-go to condition on, in units of the return scale.

    Either `value`, for every rollout; or the recorded one times `own`, a negative one divided by it
    (as GTA, Lee et al. 2024, for 1.3); or, if `conditional`, at least the quantile that the source
    predicts for the state and the action; or else at least low + stretch * (q - low), where q is
    the data's `quantile` of the return-to-go and low its minimum. A context whose recorded
    return-to-go is higher keeps it, so quantile 0 conditions on the recorded one.
    """

    value: Number | None = None
    own: Positive | None = None
    conditional: bool = False
    quantile: Share = 0.9
    stretch: Positive = 1.1

    def __post_init__(self) -> None:
        check_settings(self)
        require(
            self.value is None or self.own is None,
            f"ReturnTarget.value is {self.value} and ReturnTarget.own {self.own}: unset one",
        )
        require(
            not self.conditional or self.value is self.own is None,
            f"ReturnTarget.conditional is True, value {self.value} and own {self.own}: set one",
        )

    def of(self, return_to_go: np.ndarray) -> np.ndarray:
        """The target (N,) of each step, given its recorded return-to-go (N,).

        If `conditional`, the recorded one, the least that a target can be.
        """
        if self.value is not None:
            return np.full_like(return_to_go, self.value)
        if self.own is not None:
            factor = return_to_go.dtype.type(self.own)
            return np.where(return_to_go > 0.0, return_to_go * factor, return_to_go / factor)
        if self.conditional:
            return return_to_go
        low = float(return_to_go.min())
        least = low + self.stretch * (float(np.quantile(return_to_go, self.quantile)) - low)
        return np.maximum(return_to_go, return_to_go.dtype.type(least))


def favored(dataset: Dataset, rows: np.ndarray, preference: float) -> np.ndarray:
    """Entries (M,) of `rows` (M,), repeated so that a uniform draw favors good episodes.

    An entry is repeated in proportion to exp(preference * R), R being its episode's return, scaled
    to [0, 1] over the data set, as Hong et al. (2023) draw recorded transitions for a learner. With
    preference 0 each appears once.

    Args:
        rows: of recorded steps, ascending.
    """
    returns = dataset.returns.astype(np.float64)
    scaled = returns / (np.ptp(returns) or 1.0)
    last_row = np.cumsum(dataset.lengths + 1) - 1
    exponent = preference * scaled[np.searchsorted(last_row, rows)]
    weight = np.exp(exponent - exponent.max())
    # Systematic resampling: the entries at M evenly spaced points of the weights' sum.
    reached = np.cumsum(weight) / weight.sum()
    points = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.minimum(np.searchsorted(reached, points), len(rows) - 1)


def cut_rollouts(
    observation: Array,
    action: Array,
    reward: Array,
    next_action: Array,
    terminal: Array,
    discount: float | Array,
) -> tuple[Transition, Array]:
    """B rollouts of n steps as transitions, with the end of an episode where it is terminal.

    Args:
        observation: (B, n + 1, observation_dim).
        action: (B, n, action_dim).
        reward: (B, n).
        next_action: (B, n, action_dim), or (B, n - 1, action_dim) if the last one is not known.
        terminal: (B, n) bool; whether the next state is.

    Returns:
        Transitions whose arrays start with (B, n), and which are valid (B, n): those up to a
        terminal state.
    """
    unknown = action.shape[1] - next_action.shape[1]
    last = jnp.arange(action.shape[1]) >= next_action.shape[1]
    follows = ~(terminal | last)
    next_action = jnp.pad(next_action, ((0, 0), (0, unknown), (0, 0)))
    transitions = Transition(
        observation=observation[:, :-1],
        action=action,
        reward=reward,
        discount=jnp.where(terminal, 0.0, discount).astype(jnp.float32),
        next_observation=observation[:, 1:],
        next_action=jnp.where(follows[..., None], next_action, 0.0),
        next_action_mask=follows,
        recorded=jnp.zeros(terminal.shape, bool),
    )
    ended_before = jnp.cumsum(terminal, axis=1) - terminal
    return transitions, ended_before == 0


class RolloutSource:
    """A source whose units are rollouts from recorded states.

    Such a source is also evaluated on held-out windows, and its rollouts can be chained.
    """

    target = ReturnTarget(quantile=0.0)  # the recorded return-to-go
    start_preference = 0.0  # for episodes of high return, see `favored`; 0: uniform

    @property
    def steps(self) -> int:
        """n, the number of transitions in a rollout."""
        raise NotImplementedError

    def rollout(
        self, states: States, context: Context, keys: Array, discount: float | Array
    ) -> tuple[Transition, Array]:
        """A rollout from each of B contexts.

        Args:
            keys: (B,) one key per rollout.

        Returns:
            Transitions with arrays (B, n, ...), and whether each is valid, (B, n) bool: True up to
            a terminal state.
        """
        raise NotImplementedError

    def units(self, transitions: int) -> int:
        return -(-transitions // self.steps)

    def start_rows(self, dataset: Dataset) -> np.ndarray:
        """The rows of the steps that rollouts start from: all recorded ones."""
        return np.flatnonzero(np.asarray(dataset.episodes.steps_left))

    def inputs(self, dataset: Dataset) -> Starts:
        rows = self.start_rows(dataset)
        recorded = np.asarray(dataset.episodes.return_to_go)[rows] / dataset.return_scale
        target = self.target.of(recorded.astype(np.float32))
        entries = favored(dataset, rows, self.start_preference)
        return Starts(
            episodes=dataset.episodes,
            rows=jnp.asarray(rows[entries], jnp.int32),
            return_to_go=jnp.asarray(target[entries]),
            discount=jnp.float32(dataset.discount),
        )

    def calibrate(self, states: States, inputs: Starts, key: Array) -> Starts:
        return inputs

    def generate(
        self, states: States, inputs: Starts, index: Array, key: Array
    ) -> tuple[Transition, Array]:
        keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(index)
        return self.from_starts(states, inputs, jax.vmap(inputs.draw)(keys[:, 0]), keys[:, 1])

    def from_starts(
        self, states: States, inputs: Starts, number: Array, keys: Array
    ) -> tuple[Transition, Array]:
        """The units that begin at the starts `number` (B,), with keys (B,)."""
        return self.rollout(states, self.context(states, inputs, number), keys, inputs.discount)

    def context(self, states: States, inputs: Starts, number: Array) -> Context:
        """The contexts of the starts `number` (B,), with the target that the source wants."""
        return inputs.context(number)
