"""A decision tree that classifies terminal states, grown on the ends of recorded episodes."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.settings import Depth, check_settings
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

    component: Array  # (2^depth - 1,) int32, of the state
    threshold: Array  # (2^depth - 1,) in the data's units
    share: Array  # (2^depth,) of the recorded states at each leaf, those that are terminal


@dataclass(frozen=True)
class TerminationModel:
    """A tree that predicts whether a state is terminal (CART, Breiman et al. 1984).

    Simulators end an episode where a height or an angle leaves an interval. Few splits, each of
    one component of the state, express such a rule; a network blurs its edges, and misses the
    states just beyond them. Of ends by a distance, which no component shows, a tree finds fewer.

    The leaves are split, level by level, at the threshold, halfway between two recorded values,
    that leaves the least Gini impurity. A state is terminal if most recorded states at its leaf
    are. One update grows the whole tree.

    Raises:
        UserError: a setting is out of range.
    """

    version: ClassVar[int] = 3
    steps: ClassVar[int] = 1
    updates_per_step: ClassVar[int] = 1
    batch_shape: ClassVar[tuple[int, ...]] = ()

    depth: Depth = 12  # levels of splits

    def __post_init__(self) -> None:
        check_settings(self)

    def data(self, transitions: Transition) -> Ends:
        """The recorded next states."""
        return Ends(transitions.next_observation, transitions.discount == 0.0)

    def init(self, key: Array, data: Ends) -> TerminationState:
        """A tree without splits; it is not random."""
        del key
        nodes = 2**self.depth - 1
        return TerminationState(
            component=jnp.zeros(nodes, jnp.int32),
            threshold=jnp.full(nodes, UNSPLIT),
            share=jnp.zeros(nodes + 1).at[0].set(jnp.mean(data.terminal)),
        )

    def update(
        self, state: TerminationState, batch: Ends, key: Array
    ) -> tuple[TerminationState, dict[str, Array]]:
        """The grown tree, and the mean Gini impurity at its leaves."""
        del key

        def grown(level: Array, tree: TerminationState) -> TerminationState:
            mixed = jnp.any((tree.share > 0.0) & (tree.share < 1.0))
            return jax.lax.cond(mixed, self._grown, lambda tree, *_: tree, tree, batch, level)

        state = jax.lax.fori_loop(0, self.depth, grown, state)
        count, ends = self._counts(state, batch)
        return state, {"loss": 2.0 * jnp.sum(_impurity(count, ends)) / len(batch.terminal)}

    def terminal(self, state: TerminationState, observation: Array) -> Array:
        """Whether the states (..., observation_dim) are terminal, (...) bool."""
        return state.share[self._leaf(state, observation)] > 0.5

    def _grown(self, state: TerminationState, batch: Ends, level: Array) -> TerminationState:
        """The tree with the nodes of a level split."""
        group = self._leaf(state, batch.state) >> (self.depth - level)
        component, threshold = best_splits(batch, group, 2 ** (self.depth - 1))
        number = jnp.arange(2 ** (self.depth - 1))
        node = jnp.where(number < 2**level, 2**level - 1 + number, 2**self.depth)
        state = state.replace(
            component=state.component.at[node].set(component, mode="drop"),
            threshold=state.threshold.at[node].set(threshold, mode="drop"),
        )
        count, ends = self._counts(state, batch)
        return state.replace(share=ends / jnp.maximum(count, 1))

    def _counts(self, state: TerminationState, batch: Ends) -> tuple[Array, Array]:
        """The recorded states and the terminal ones at each leaf, (2^depth,) each."""
        return _counts(self._leaf(state, batch.state), batch.terminal, 2**self.depth)

    def _leaf(self, state: TerminationState, observation: Array) -> Array:
        """The leaves (...) of the states (..., observation_dim)."""
        node = jnp.zeros(observation.shape[:-1], jnp.int32)
        for _ in range(self.depth):
            component = state.component[node][..., None]
            value = jnp.take_along_axis(observation, component, axis=-1)[..., 0]
            node = 2 * node + 1 + (value > state.threshold[node])
        return node - (2**self.depth - 1)


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
        return least, jnp.where(middle < following[row], middle, value[row])  # where it rounds

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
