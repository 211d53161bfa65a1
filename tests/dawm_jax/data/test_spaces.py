"""Nested spaces as vectors, against gymnasium's own flattening."""

from collections import OrderedDict

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple, flatten, unflatten

from dawm_jax.data.spaces import Layout
from dawm_jax.errors import UserError


def box(*shape):
    return Box(-1.0, 1.0, shape, np.float64)


SPACES = {
    "box": box(2, 3),
    "sorted": Dict({"b": box(2), "a": box(1, 2)}),
    "as given": Dict(OrderedDict(b=box(2), a=box(1, 2))),
    "tuple": Tuple((box(3), box(1))),
    "scalar": Dict(angle=box(), speed=box(2)),
    "deep": Dict(robot=Tuple((box(2), Dict(z=box(1), y=box(2)))), goal=Dict(x=box(1))),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_vector_is_gymnasium_s(space):
    value, layout = space.sample(), Layout.of(space)
    vector = layout.flat(value)
    np.testing.assert_array_equal(vector, flatten(space, value))
    assert layout.size == len(vector) == sum(layout.sizes.values())
    again = layout.nested(vector)
    assert space.contains(again)
    np.testing.assert_array_equal(flatten(space, again), flatten(space, unflatten(space, vector)))


def test_parts_are_named_in_order():
    sizes = [("robot/0", 2), ("robot/1/z", 1), ("robot/1/y", 2), ("goal/x", 1)]
    assert list(Layout.of(SPACES["deep"]).sizes.items()) == sizes
    assert Layout.of(SPACES["box"]).sizes == {"": 6}


def test_bounds_are_in_the_same_order():
    space = Dict({"b": Box(0.0, 2.0, (1,)), "a": Box(-3.0, 3.0, (2,))})
    flat = Layout.of(space).box
    np.testing.assert_array_equal(flat.low, [-3.0, -3.0, 0.0])
    np.testing.assert_array_equal(flat.high, [3.0, 3.0, 2.0])


def test_many_values_at_once_are_rows():
    """As an episode has them, and a vectorized environment."""

    class Nested(gymnasium.Env):
        observation_space, action_space = SPACES["deep"], box(1)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.observation_space.seed(seed)
            return self.observation_space.sample(), {}

    layout = Layout.of(SPACES["deep"])
    several = gymnasium.vector.SyncVectorEnv([Nested] * 3)
    observations, _ = several.reset(seed=[5, 6, 7])
    rows = layout.flat(observations)
    assert rows.shape == (3, 6)
    for row, seed in zip(rows, (5, 6, 7), strict=True):
        np.testing.assert_array_equal(row, layout.flat(Nested().reset(seed=seed)[0]))


def test_another_order_in_the_environment_gives_the_same_vector():
    """Pitfall: Minari sorts the keys of a Dict when it reads a space, a Dict may not."""
    of_data, there = Layout.of(SPACES["sorted"]), SPACES["as given"]
    value = there.sample()
    np.testing.assert_array_equal(of_data.flat(value), np.concatenate([*value["a"], value["b"]]))
    assert list(of_data.of_parts(Layout.of(there)).sizes) == ["a", "b"]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Discrete(3), r"space Discrete\(3\): only Box spaces .* no pixels and no discrete"),
        (Dict(camera=Box(0, 255, (4, 4, 3), np.uint8)), r"Box\(0, 255.*\), at camera: only Box"),
        (Tuple((box(1), Dict(grip=Discrete(2)))), "at 1/grip: only Box"),
        (Dict(), "contains no numbers"),
        (Dict(a=box(0)), "contains no numbers"),
    ],
)
def test_other_spaces_are_refused_with_the_place(space, message):
    with pytest.raises(UserError, match=message):
        Layout.of(space)
