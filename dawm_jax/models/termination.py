"""A decision tree that classifies terminal states, grown on the ends of recorded episodes."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.settings import Levels, check_settings
from dawm_jax.types import Array, Transition

UNSPLIT = float(np.finfo(np.float32).max)  # a threshold that no state exceeds


class Ends(struct.PyTreeNode):
    """The recorded next states, and whether each is terminal. Every batch has all of them."""

    state: Array  # (N, observation_dim)
    terminal: Array  # (N,) bool

    def sample(self, key: Array, shape: tuple[int, ...]) -> "Ends":
        """All states, whatever the shape."""
        del key, shape
        return self


class TerminationState(struct.PyTreeNode):
    """A binary tree; the children of node i are nodes 2 i + 1 and 2 i + 2.

    A state goes to the second child if the node's component of it exceeds the node's threshold,
    which none does if the node is not split.
    """

    levels: Array  # () int32, those that are grown
    component: Array  # (2^steps - 1,) int32, of the state
    threshold: Array  # (2^steps - 1,) in the data's units
    share: Array  # (2^steps,) of the recorded states at each leaf, those that are terminal


@dataclass(frozen=True)
class TerminationModel:
    """A tree that predicts whether a state is terminal (CART, Breiman et al. 1984).

    Simulators end an episode where a height or an angle leaves an interval. Few splits, each of
    one component of the state, express such a rule; a network blurs its edges, and misses the
    states just beyond them. Of ends by a distance, which no component shows, a tree finds fewer.

    Each update splits the leaves of one level at the threshold, halfway between two recorded
    values, that leaves the least Gini impurity. A state is terminal if most recorded states at its
    leaf are.

    Raises:
        UserError: a setting is out of range.
    """

    version: ClassVar[int] = 3
    updates_per_step: ClassVar[int] = 1
    batch_shape: ClassVar[tuple[int, ...]] = ()

    steps: Levels = 12  # levels of splits, one per update

    def __post_init__(self) -> None:
        check_settings(self)

    def data(self, transitions: Transition) -> Ends:
        """The recorded next states."""
        return Ends(transitions.next_observation, transitions.discount == 0.0)

    def init(self, key: Array, data: Ends) -> TerminationState:
        """A tree without splits; it is not random."""
        del key
        nodes = 2**self.steps - 1
        return TerminationState(
            levels=jnp.int32(0),
            component=jnp.zeros(nodes, jnp.int32),
            threshold=jnp.full(nodes, UNSPLIT),
            share=jnp.zeros(nodes + 1).at[0].set(jnp.mean(data.terminal)),
        )

    def update(
        self, state: TerminationState, batch: Ends, key: Array
    ) -> tuple[TerminationState, dict[str, Array]]:
        """The tree with one more level of splits, and the mean Gini impurity at its leaves."""
        del key
        mixed = (state.share > 0.0) & (state.share < 1.0)
        state = jax.lax.cond(jnp.any(mixed), self._grown, lambda tree, _: tree, state, batch)
        count, ends = self._counts(state, batch)
        loss = 2.0 * jnp.sum(_impurity(count, ends)) / len(batch.terminal)
        return state.replace(levels=state.levels + 1), {"loss": loss}

    def terminal(self, state: TerminationState, observation: Array) -> Array:
        """Whether the states (..., observation_dim) are terminal, (...) bool."""
        return state.share[self._leaf(state, observation)] > 0.5

    def _grown(self, state: TerminationState, batch: Ends) -> TerminationState:
        """The tree with splits of the nodes of its next level."""
        leaf = self._leaf(state, batch.state)
        group = leaf >> (self.steps - state.levels)
        component, threshold = best_splits(batch, group, 2 ** (self.steps - 1))
        number = jnp.arange(2 ** (self.steps - 1))
        width = 2**state.levels  # nodes of the level
        node = jnp.where(number < width, width - 1 + number, 2**self.steps)
        state = state.replace(
            component=state.component.at[node].set(component, mode="drop"),
            threshold=state.threshold.at[node].set(threshold, mode="drop"),
        )
        count, ends = self._counts(state, batch)
        return state.replace(share=ends / jnp.maximum(count, 1))

    def _counts(self, state: TerminationState, batch: Ends) -> tuple[Array, Array]:
        """The recorded states and the terminal ones at each leaf, (2^steps,) each."""
        return _counts(self._leaf(state, batch.state), batch.terminal, 2**self.steps)

    def _leaf(self, state: TerminationState, observation: Array) -> Array:
        """The leaves (...) of the states (..., observation_dim)."""
        node = jnp.zeros(observation.shape[:-1], jnp.int32)
        for _ in range(self.steps):
            component = state.component[node][..., None]
            value = jnp.take_along_axis(observation, component, axis=-1)[..., 0]
            node = 2 * node + 1 + (value > state.threshold[node])
        return node - (2**self.steps - 1)


def best_splits(batch: Ends, group: Array, groups: int) -> tuple[Array, Array]:
    """The component and the threshold of each group's best split, (groups,) each.

    Args:
        group: (N,) int, the group of each state.

    Returns:
        The threshold `UNSPLIT` where no split lowers the impurity.
    """
    count, ends = _counts(group, batch.terminal, groups)
    before = jnp.cumsum(count) - count, jnp.cumsum(ends) - ends
    rows = jnp.arange(len(group))

    def of_component(values: Array) -> tuple[Array, Array]:
        """The least impurity (groups,) and the threshold where it is reached."""
        operands = (group, values, batch.terminal.astype(jnp.int32))
        of, value, terminal = jax.lax.sort(operands, num_keys=2)
        left = rows + 1 - before[0][of], jnp.cumsum(terminal) - before[1][of]
        impurity = _impurity(*left) + _impurity(count[of] - left[0], ends[of] - left[1])
        following = jnp.roll(value, -1)
        between = (of == jnp.roll(of, -1)) & (following > value) & (rows + 1 < len(rows))
        impurity = jnp.where(between, impurity, jnp.inf)
        least = jax.ops.segment_min(impurity, of, groups)
        row = jax.ops.segment_min(jnp.where(impurity == least[of], rows, len(rows) - 1), of, groups)
        middle = value[row] + (following[row] - value[row]) / 2.0
        return least, jnp.where(middle < following[row], middle, value[row])  # if they round

    least, threshold = jax.lax.map(of_component, batch.state.T)
    component = jnp.argmin(least, axis=0)
    chosen = component, jnp.arange(groups)
    better = least[chosen] < _impurity(count, ends)
    return component, jnp.where(better, threshold[chosen], UNSPLIT)


def _counts(group: Array, terminal: Array, groups: int) -> tuple[Array, Array]:
    """The states and the terminal ones of each group, (groups,) int32 each."""
    ones = jnp.ones(len(group), jnp.int32)
    return (
        jax.ops.segment_sum(ones, group, groups),
        jax.ops.segment_sum(terminal.astype(jnp.int32), group, groups),
    )


def _impurity(count: Array, ends: Array) -> Array:
    """Half of the Gini impurity of `count` states, of which `ends` are terminal, times `count`."""
    return ends * (1.0 - ends / jnp.maximum(count, 1))
