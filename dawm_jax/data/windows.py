"""Windows of T states and one-step transitions, cut from episodes on the device."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.errors import require
from dawm_jax.settings import CountOrZero, Few, check_value
from dawm_jax.types import Array, Context, Dataset, Episodes, Transition, Window


def window_starts(
    lengths: np.ndarray, terminated: np.ndarray, horizon: int, skip_truncated_tail: int = 0
) -> np.ndarray:
    """The rows at which a window of `horizon` states may start.

    In an episode that ends in a terminal state, every recorded step starts a window, which repeats
    the terminal state to its end. In a truncated episode, the window must fit, and no window starts
    in the last `skip_truncated_tail` steps, because truncation lowers their return-to-go.

    Args:
        lengths: (E,) steps per episode; an episode has one more row.
        terminated: (E,) bool.

    Returns:
        (M,) int32 rows of `Episodes`, ascending.
    """
    first_row = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    fitting = np.minimum(lengths + 2 - horizon, lengths - skip_truncated_tail)
    count = np.where(terminated, lengths, np.clip(fitting, 0, lengths))
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return (np.repeat(first_row, count) + within).astype(np.int32)


@partial(jax.jit, static_argnames="horizon")
def cut_windows(
    episodes: Episodes, starts: Array, horizon: int, return_scale: float | Array
) -> Window:
    """The windows of `horizon` states that start at the rows `starts` (B,)."""
    left = episodes.steps_left[starts][:, None]
    offset = jnp.arange(horizon)
    rows = starts[:, None] + jnp.minimum(offset, left)
    observation, action = episodes.observation[rows], episodes.action[rows]
    context = Context(
        observation=observation[:, 0],
        action=action[:, 0],
        return_to_go=episodes.return_to_go[starts] / return_scale,
    )
    return Window(
        context=context,
        observation=observation,
        action=action,
        reward=episodes.reward[rows],
        terminal=episodes.terminated[rows] & (offset >= left),
        observation_mask=offset <= left,
        reward_mask=offset < left,
    )


class WindowSet(struct.PyTreeNode):
    """The windows of a data set, cut on access."""

    episodes: Episodes
    starts: Array  # (M,) int32
    return_scale: Array  # ()
    horizon: int = struct.field(pytree_node=False)

    @classmethod
    def of(cls, dataset: Dataset, horizon: int, skip_truncated_tail: int = 0) -> "WindowSet":
        """All windows of `dataset`.

        Raises:
            UserError: no episode is long enough, or an argument is out of range.
        """
        check_value("horizon", horizon, Few)
        check_value("skip_truncated_tail", skip_truncated_tail, CountOrZero)
        starts = window_starts(dataset.lengths, dataset.terminated, horizon, skip_truncated_tail)
        require(
            len(starts) > 0,
            f"no episode of '{dataset.id}' contains a window of {horizon} states: the longest has "
            f"{dataset.lengths.max()} steps, and none ends in a terminal state. Use a shorter "
            "world_model.horizon or a data set with longer episodes.",
        )
        scale = jnp.float32(dataset.return_scale)
        return cls(dataset.episodes, jnp.asarray(starts), scale, horizon)

    def at(self, index: Array) -> Window:
        """The windows at `index` (B,)."""
        return cut_windows(self.episodes, self.starts[index], self.horizon, self.return_scale)

    def sample(self, key: Array, shape: tuple[int, ...]) -> Window:
        """`shape` = (B,) windows drawn uniformly, with replacement."""
        return self.at(jax.random.randint(key, shape, 0, len(self.starts)))


def to_transitions(dataset: Dataset) -> Transition:
    """All recorded steps as transitions. The last step of a truncated episode bootstraps."""
    row = np.flatnonzero(np.asarray(dataset.episodes.steps_left))
    return transitions_from(dataset.episodes, jnp.asarray(row), dataset.discount)


@jax.jit
def transitions_from(episodes: Episodes, row: Array, discount: float | Array) -> Transition:
    """The transitions from the rows `row` (N,), of recorded steps, to the next rows."""
    terminal = episodes.terminated[row] & (episodes.steps_left[row] == 1)
    return Transition(
        observation=episodes.observation[row],
        action=episodes.action[row],
        reward=episodes.reward[row],
        discount=jnp.where(terminal, 0.0, discount).astype(jnp.float32),
        next_observation=episodes.observation[row + 1],
        next_action=episodes.action[row + 1],
        next_action_mask=episodes.steps_left[row] > 1,
        recorded=jnp.ones(len(row), bool),
    )
