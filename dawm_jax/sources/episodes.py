"""Synthetic episodes: rollouts chained up to a predicted end or a number of steps.

The episodes of a batch are under way side by side, each in a lane. A lane whose episode has ended
begins the next one at once, so that short episodes cost no more than long ones. An episode depends
on its number and the key alone, not on the other lanes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.settings import Count, Positive, check_settings
from dawm_jax.sources.base import RolloutSource, Starts, States
from dawm_jax.sources.chains import continued
from dawm_jax.training.devices import DATA, SEED, Mesh, Split, fetch, place
from dawm_jax.types import Array, Context, Transition

FEWEST = 64  # lanes at least, if there are as many episodes


@dataclass(frozen=True)
class Chaining:
    """How rollouts become episodes."""

    steps: Count  # of an episode that does not end before
    discount: Positive
    return_scale: Positive

    def __post_init__(self) -> None:
        check_settings(self)


class Lanes(struct.PyTreeNode):
    """The episodes under way, one in each of B lanes."""

    context: Context  # of the next rollout
    episode: Array  # (B,) int32 number of the episode
    step: Array  # (B,) int32 its steps so far
    begun: Array  # () int32 the number of episodes begun


class Rows(struct.PyTreeNode):
    """The transitions that some rollouts add to their episodes."""

    transition: Transition  # (R, B, n - 1, ...)
    episode: Array  # (R, B) number of the episode
    step: Array  # (R, B) its steps before
    count: Array  # (R, B) the number of transitions that belong to it
    ended: Array  # (R, B) bool; whether it ends with them


def lanes_for(transitions: int, steps: int, most: int) -> int:
    """A number of lanes up to `most`, such that the last episodes of a set cost little.

    While the last ones are made, other lanes make episodes that are not needed: at most `steps`
    steps in each lane, half of the transitions.
    """
    episodes = -(-transitions // steps)
    return min(most, max(-(-episodes // 2), min(episodes, FEWEST)))


@partial(jax.jit, static_argnames=("source", "lanes"))
def begin(source: RolloutSource, states: States, starts: Starts, key: Array, lanes: int) -> Lanes:
    """The first `lanes` episodes, before their first step."""
    number = jnp.arange(lanes, dtype=jnp.int32)
    zeros = jnp.zeros(lanes, jnp.int32)
    first = _first(source, states, starts, key, number)
    return Lanes(first, number, zeros, jnp.int32(lanes))


def extended(
    source: RolloutSource,
    states: States,
    starts: Starts,
    lanes: Lanes,
    chaining: Chaining,
    key: Array,
    rollouts: int,
    mesh: Mesh | None = None,
) -> Iterator[tuple[Lanes, Rows]]:
    """Extends the episodes by `rollouts` rollouts in each lane at a time, without an end.

    Args:
        source: its `steps` are at least 2.
        starts: the recorded steps that episodes begin at, each with equal probability.
        lanes: from `begin`, or as yielded before.
        mesh: the devices that share the lanes, a multiple of their number.

    Yields:
        The lanes and what they added, on the host.
    """

    def placed(leaf: Array) -> Array:
        return place(leaf, mesh, Split((SEED, DATA)) if leaf.ndim else Split())

    states, starts, key = place((states, starts, key), mesh)
    one = partial(_extend, source, states, starts, chaining, key, rollouts)
    made = one(jax.tree.map(placed, lanes))
    while True:
        following = one(made[0])  # dispatched before the previous one is fetched
        yield fetch(made, mesh)
        made = following


@partial(jax.jit, static_argnames=("source", "chaining", "rollouts"))
def _extend(
    source: RolloutSource,
    states: States,
    starts: Starts,
    chaining: Chaining,
    key: Array,
    rollouts: int,
    lanes: Lanes,
) -> tuple[Lanes, Rows]:
    added = source.steps - 1
    # Beyond the targets of the recorded steps the models know nothing.
    lowest, highest = starts.return_to_go.min(), starts.return_to_go.max()

    def extend(lanes: Lanes, _: None) -> tuple[Lanes, Rows]:
        keys = jax.vmap(lambda e, s: jax.random.fold_in(_keys(key, e)[1], s))
        step, valid = source.rollout(
            states, lanes.context, keys(lanes.episode, lanes.step), chaining.discount
        )
        scales = chaining.discount, chaining.return_scale
        context = continued(lanes.context, step, valid, *scales)[0]
        target = jnp.clip(context.return_to_go, lowest, highest)
        step, valid = jax.tree.map(lambda leaf: leaf[:, :added], (step, valid))
        valid &= lanes.step[:, None] + jnp.arange(added) < chaining.steps
        terminal = (valid & (step.discount == 0.0)).any(axis=1)
        count = valid.sum(axis=1, dtype=jnp.int32)
        ended = terminal | (lanes.step + count >= chaining.steps)
        rows = Rows(step, lanes.episode, lanes.step, count, ended)
        following = lanes.begun + jnp.cumsum(ended, dtype=jnp.int32) - 1
        first = _first(source, states, starts, key, following)

        def either(new: Array, old: Array) -> Array:
            return jnp.where(ended.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        lanes = Lanes(
            context=jax.tree.map(either, first, context.replace(return_to_go=target)),
            episode=either(following, lanes.episode),
            step=either(jnp.zeros_like(count), lanes.step + count),
            begun=lanes.begun + ended.sum(dtype=jnp.int32),
        )
        return lanes, rows

    return jax.lax.scan(extend, lanes, length=rollouts)


def _first(
    source: RolloutSource, states: States, starts: Starts, key: Array, episode: Array
) -> Context:
    """The contexts that the episodes number `episode` (B,) begin with."""
    number = jax.vmap(lambda number: starts.draw(_keys(key, number)[0]))(episode)
    return source.context(states, starts, number)


def _keys(key: Array, episode: Array) -> Array:
    """The keys of an episode's start and of its rollouts."""
    return jax.random.split(jax.random.fold_in(key, episode))


def valid_rows(rows: Rows) -> tuple[Transition, np.ndarray, np.ndarray]:
    """The transitions (N, ...) of `rows` on the host, their episodes and their steps in these."""
    number = np.arange(rows.transition.reward.shape[-1])
    valid = number < rows.count[..., None]
    transition = jax.tree.map(lambda leaf: leaf[valid], rows.transition)
    episode = np.broadcast_to(rows.episode[..., None], valid.shape)[valid]
    return transition, episode, (np.asarray(rows.step)[..., None] + number)[valid]
