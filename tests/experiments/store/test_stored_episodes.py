"""Episodes on disk: parts that interleave, and the file of whole episodes."""

from types import SimpleNamespace

import numpy as np
import pytest

from dawm_jax.export.rows import EpisodeRows
from dawm_jax.sources.episodes import Lanes, Rows
from dawm_jax.types import Context, Transition
from experiments.store import files
from experiments.store.episodes import Complete, complete, join, lanes_after, write_part

# Of each call and each of two lanes: the episode, its steps before, its new steps, whether it ends.
CALLS = [
    [(0, 0, 2, False), (1, 0, 1, True)],
    [(0, 2, 2, False), (2, 0, 2, True)],
    [(0, 4, 1, True), (3, 0, 2, False)],
    [(4, 0, 1, True), (3, 2, 1, True)],
]


def dataset(low=-1.0):
    ends = np.float32(low), np.float32(1.0)
    return SimpleNamespace(
        action_low=ends[0], action_high=ends[1], in_units=lambda field, values: values
    )


def rows_of(call):
    """Rows whose observations are the numbers of the episode and the step."""
    episode, before, count, ended = map(np.array, zip(*call, strict=True))
    step = before[:, None] + np.arange(2)
    state = np.stack([np.broadcast_to(episode[:, None], step.shape), step], -1).astype(np.float32)
    terminal = ended[:, None] & (np.arange(2) == count[:, None] - 1) & (episode != 2)[:, None]
    transition = Transition(
        observation=state,
        action=state[..., :1] * 0.1 + 0.95,
        reward=10.0 * state[..., 0] + state[..., 1],
        discount=np.where(terminal, 0.0, 0.99).astype(np.float32),
        next_observation=state + np.array([0.0, 1.0], np.float32),
        next_action=state[..., :1],
        next_action_mask=terminal,
        recorded=np.zeros_like(terminal),
    )
    return Rows(*([transition, *map(np.asarray, (episode, before, count, ended))]))


def lanes(number):
    context = Context(np.full((2, 2), number), np.zeros((2, 1)), np.arange(2.0))
    return Lanes(context, np.array([0, number]), np.array([3, 4]), np.int32(number))


@pytest.fixture
def parts(tmp_path):
    paths = [tmp_path / f"{number}.npz" for number in range(len(CALLS))]
    for number, (path, call) in enumerate(zip(paths, CALLS, strict=True)):
        write_part(path, lanes(number), rows_of(call), dataset())
    return paths


def test_the_first_episodes_are_complete_only_when_none_before_is_under_way():
    """Otherwise short episodes would be preferred."""
    found = Complete(8)
    for call, expected in zip(CALLS, [0, 0, 3, 3], strict=True):
        ended = np.array([(number, before + new) for number, before, new, over in call if over])
        found.add(*ended.reshape(-1, 2).T, sum(new for _, _, new, _ in call))
        assert found.episodes == expected
    assert found.done
    assert found.transitions == 8
    assert found.made == 12


@pytest.mark.parametrize(("wanted", "lengths"), [(1, [5]), (6, [5, 1]), (8, [5, 1, 2])])
def test_episodes_are_joined_from_their_parts(parts, tmp_path, wanted, lengths):
    found = complete(parts, wanted)
    path = tmp_path / "episodes.npy"
    facts = join(parts, found, path)
    assert files.damage(path) is None
    joined = list(EpisodeRows.of(path).episodes())
    assert [len(episode["rewards"]) for episode in joined] == lengths
    for number, episode in enumerate(joined):
        steps = np.arange(lengths[number] + 1)
        np.testing.assert_array_equal(episode["observations"][:, 0], number)
        np.testing.assert_array_equal(episode["observations"][:, 1], steps)
        np.testing.assert_array_equal(episode["rewards"], 10 * number + steps[:-1])
        last = steps[1:] == steps[-1]
        np.testing.assert_array_equal(episode["terminations"], last & (number != 2))
        np.testing.assert_array_equal(episode["truncations"], last & (number == 2))
    assert facts["transitions"] == sum(lengths)
    assert facts["episodes"] == len(lengths)
    assert facts["predicted_ends"] == min(len(lengths), 2)
    returns = [episode["rewards"].sum() for episode in joined]
    assert facts["return_mean"] == pytest.approx(np.mean(returns))


def test_actions_stay_within_the_bounds_that_rounding_exceeds(parts):
    with np.load(parts[0]) as stored:
        assert stored["action"].max() == 1.0
        np.testing.assert_allclose(stored["action"].min(), 0.95)


def test_the_lanes_are_those_after_the_part(parts):
    found, expected = lanes_after(parts[2]), lanes(2)
    for name in ("episode", "step", "begun"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name, value in vars(expected.context).items():
        np.testing.assert_array_equal(getattr(found.context, name), value)
