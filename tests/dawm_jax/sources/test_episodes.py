"""Episodes of scripted sources, whose every state is known in advance."""

from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_sources import Echo, Scripted

from dawm_jax.errors import UserError
from dawm_jax.sources.base import Starts
from dawm_jax.sources.episodes import Chaining, begin, extended, lanes_for, valid_rows
from dawm_jax.types import Episodes

KEY = jax.random.key(3)


def starts(positions=(0.0,), target=0.0):
    """Recorded steps at `positions`, with their target."""
    count = len(positions)
    zeros = jnp.zeros(count)
    return Starts(
        episodes=Episodes(
            observation=jnp.array(positions)[:, None],
            action=jnp.full((count, 1), 7.0),
            reward=zeros,
            return_to_go=zeros,
            steps_left=jnp.ones(count, jnp.int32),
            terminated=jnp.zeros(count, bool),
        ),
        rows=jnp.arange(count),
        return_to_go=jnp.broadcast_to(jnp.asarray(target, jnp.float32), (count,)),
        discount=jnp.float32(0.5),
    )


def collected(parts):
    """The steps of each episode, by its number, as (transitions, its steps) in order."""
    episodes: dict = {}
    for _, rows in parts:
        transition, episode, step = valid_rows(rows)
        for number in np.unique(episode):
            these = episode == number
            found = episodes.setdefault(int(number), ([], []))
            found[0].append(jax.tree.map(lambda leaf, these=these: leaf[these], transition))
            found[1].extend(step[these].tolist())
    return {
        number: (jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts), steps)
        for number, (parts, steps) in episodes.items()
    }


def made(source, begins, steps, calls, lanes=3, rollouts=1, scale=1.0):
    chaining = Chaining(steps, 0.5, scale)
    first = begin(source, {}, begins, KEY, lanes)
    parts = extended(source, {}, begins, first, chaining, KEY, rollouts)
    return collected(islice(parts, calls))


def one_further(context, keys, numbers):
    """Each state is one more than the previous one; those divisible by 100 are terminal."""
    position = context.observation + numbers
    return position, position, position % 100 == 0


@pytest.mark.parametrize(("window", "steps"), [(3, 7), (2, 4), (6, 4)])
def test_an_episode_has_its_steps_without_gap_or_repetition(window, steps):
    found = made(Scripted(one_further, window), starts(), steps, calls=12)
    assert all(step == list(range(len(step))) for _, step in found.values())
    whole = [transition for transition, step in found.values() if len(step) == steps]
    assert len(whole) >= 3
    for transition in whole:
        np.testing.assert_array_equal(transition.observation[:, 0], np.arange(steps))
        np.testing.assert_array_equal(transition.next_observation[:, 0], np.arange(steps) + 1)
        np.testing.assert_array_equal(transition.reward, np.arange(steps))
        np.testing.assert_array_equal(transition.action[:, 0], [7.0] + [1.0] * (steps - 1))
        assert (transition.discount == 0.5).all()
    assert max(len(step) for _, step in found.values()) == steps


@pytest.mark.parametrize("distance", range(1, 9))
def test_an_episode_ends_in_the_first_terminal_state(distance):
    """Wherever in a rollout that is; the episode after it begins at a recorded step again."""
    found = made(Scripted(one_further, 4), starts((100.0 - distance,)), steps=50, calls=10)
    lengths = [len(step) for _, step in found.values()]
    assert lengths.count(distance) >= len(lengths) - 3  # the last of each lane is not complete
    for transition, step in found.values():
        assert transition.observation[0, 0] == 100 - distance
        ends = np.arange(1, len(step) + 1) == distance
        np.testing.assert_array_equal(transition.discount == 0.0, ends)


def random_walk(context, keys, numbers):
    noise = jax.vmap(jax.random.uniform)(keys)[:, None]
    position = context.observation + noise * numbers
    return position, position, position > 3.0


def test_an_episode_depends_on_its_number_and_the_key_alone():
    begins = starts((0.0, 1.0, 2.0))
    source = Scripted(random_walk)
    expected = made(source, begins, 9, calls=20)
    found = made(source, begins, 9, calls=4, lanes=5, rollouts=4)
    compared = 0
    for number in range(6):
        (one, first), (other, second) = expected[number], found[number]
        common = min(len(first), len(second))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a[:common], b[:common], rtol=1e-6)
        compared += common
    assert compared > 15
    rewards = [tuple(transition.reward[:2]) for transition, _ in expected.values()]
    assert len(set(rewards)) == len(rewards)


def test_the_same_follows_from_the_lanes_of_any_call():
    begins, source = starts((0.0, 1.0, 2.0)), Scripted(random_walk)
    chaining = Chaining(9, 0.5, 1.0)
    parts = list(
        islice(extended(source, {}, begins, begin(source, {}, begins, KEY, 3), chaining, KEY, 1), 9)
    )
    again = extended(source, {}, begins, parts[4][0], chaining, KEY, 1)
    for one, other in zip(parts[5:], again, strict=False):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_rollout_is_conditioned_on_the_rest_of_the_target_within_the_recorded_ones():
    """A reward of each step is the rollout's target: 2, then (2 - 2/10) * 2 = 3.6, then 5."""
    begins = starts((0.0, 0.0), target=[2.0, 5.0])
    found = made(Echo(2), begins, steps=3, calls=4, lanes=8, scale=10.0)
    rewards = {tuple(step.reward.astype(float).round(4)) for step, _ in found.values()}
    assert {(2.0, 3.6, 5.0), (5.0, 5.0, 5.0)} <= rewards


@pytest.mark.parametrize(
    ("transitions", "steps", "most", "expected"),
    [
        (5_000_000, 1_000, 2_048, 2_048),
        (1_000_000, 1_000, 2_048, 500),  # two rounds
        (100_000, 1_000, 2_048, 64),
        (10_000, 1_000, 2_048, 10),  # one for each episode
        (1, 1_000, 2_048, 1),
    ],
)
def test_the_number_of_lanes(transitions, steps, most, expected):
    assert lanes_for(transitions, steps, most) == expected


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match=r"Chaining\.steps is 0"):
        Chaining(0, 0.99, 1.0)
