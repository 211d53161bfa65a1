import numpy as np
import pytest

from dawm_jax.data.columns import check_columns, join
from dawm_jax.errors import DatasetError

LENGTHS = [1 + number % 3 for number in range(20)]


def recorded(steps, seed=0):
    """The fields of an episode that is truncated by its last step."""
    rng = np.random.default_rng(seed)
    return {
        "observations": rng.normal(size=(steps + 1, 2)),
        "actions": rng.normal(size=(steps, 1)),
        "rewards": rng.normal(size=steps),
        "terminations": np.zeros(steps, bool),
        "truncations": np.arange(steps) == steps - 1,
    }


def check(episodes):
    return check_columns("walk-v0", episodes, (2,), (1,))


def test_columns_are_the_episodes_one_after_the_other():
    episodes = [recorded(steps, seed) for seed, steps in enumerate(LENGTHS)]
    episodes[3]["terminations"] = episodes[3]["truncations"]
    columns = check(episodes)
    for name in ("observations", "actions", "rewards"):
        expected = np.concatenate([episode[name] for episode in episodes]).astype(np.float32)
        np.testing.assert_array_equal(getattr(columns, name), expected, strict=True)
    assert columns.lengths.tolist() == LENGTHS
    assert columns.terminated.tolist() == [number == 3 for number in range(20)]


@pytest.mark.parametrize("field", ["observations", "actions", "rewards", "truncations"])
@pytest.mark.parametrize("number", range(20))
def test_the_first_invalid_episode_is_named(field, number):
    episodes = [recorded(steps) for steps in LENGTHS]
    last = len(episodes[number][field]) - 1
    for other, step in ((number, last), (19, 0)):
        broken = episodes[other][field].astype(float)
        broken[step] = np.nan
        episodes[other][field] = broken
    if number == 19:
        last = 0
    with pytest.raises(DatasetError, match=f"^episode {number} of .* {field} at step {last}:"):
        check(episodes)


def test_an_episode_that_continues_after_its_end_is_named_with_its_step():
    episodes = [recorded(steps) for steps in LENGTHS]
    episodes[11]["terminations"] = np.array([False, True, False])
    with pytest.raises(DatasetError, match=r"^episode 11 of .* continues after step 1, which is"):
        check(episodes)


def test_parts_without_episodes_can_be_joined():
    none, some = check([]), check([recorded(4)])
    joined = join([none, some, none])
    for name, value in vars(joined).items():
        np.testing.assert_array_equal(value, getattr(some, name), strict=True)
