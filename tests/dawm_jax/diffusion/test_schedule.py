import numpy as np
import pytest

from dawm_jax.diffusion.schedule import cosine_signal_rate, visited_steps


def curve(time):
    return np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2


@pytest.mark.parametrize("steps", [5, 10, 1000])
def test_signal_rate_is_the_normalized_cosine_up_to_the_capped_last_step(steps):
    rate = cosine_signal_rate(steps)
    expected = curve(np.arange(steps) / steps) / curve(0.0)
    np.testing.assert_allclose(rate[:-1], expected, rtol=1e-9)
    np.testing.assert_allclose(rate[-1], expected[-1] * 0.001, rtol=1e-9)


def test_last_signal_rate_of_five_steps_is_the_published_one():
    rate = cosine_signal_rate(5)[-1]
    assert rate == pytest.approx(9.4e-5, rel=1e-2)
    assert np.sqrt((1 - rate) / rate) == pytest.approx(103, rel=1e-2)


def test_beta_is_capped_where_asked():
    rate = cosine_signal_rate(20, max_beta=0.3)
    beta = 1 - rate[1:] / rate[:-1]
    uncapped = 1 - curve(np.arange(1, 21) / 20) / curve(np.arange(20) / 20)
    np.testing.assert_allclose(beta, np.minimum(uncapped, 0.3))
    assert (uncapped > 0.3).sum() > 1


@pytest.mark.parametrize(
    ("steps", "sampling_steps", "expected"),
    [
        (5, 3, [1, 3, 5]),
        (5, 2, [1, 5]),
        (5, 1, [5]),
        (10, 5, [1, 3, 5, 8, 10]),
        (1, 1, [1]),
        (4, 4, [1, 2, 3, 4]),
    ],
)
def test_visited_steps_are_the_published_ones(steps, sampling_steps, expected):
    assert visited_steps(steps, sampling_steps).tolist() == expected


def test_visited_steps_are_distinct_and_include_both_ends():
    for steps in range(2, 31):
        for sampling_steps in range(2, steps + 1):
            visited = visited_steps(steps, sampling_steps)
            assert len(visited) == sampling_steps
            assert (np.diff(visited) > 0).all()
            assert (visited[0], visited[-1]) == (1, steps)
