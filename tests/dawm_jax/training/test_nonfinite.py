"""The error of a nonfinite run names the first quantity, the update and the seed."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from dawm_jax.errors import NonFiniteError, UserError
from dawm_jax.training.nonfinite import nonfinite_error

NAN, INF = np.nan, np.inf
FINITE = {"loss": np.zeros(4)}


def message(metrics, state=None, begin=0, end=4, seeds=False):
    metrics = {name: jnp.asarray(values) for name, values in metrics.items()}
    error = nonfinite_error("Walk", state, metrics, begin, end, seeds)
    assert isinstance(error, NonFiniteError)
    assert isinstance(error, UserError)
    assert isinstance(error, FloatingPointError)
    advice = "Lower the learning rate, or look for extreme values in the data."
    found = re.fullmatch(rf"(.*) of Walk is not finite in (.*)\. {re.escape(advice)}", str(error))
    return found.groups()


@pytest.mark.parametrize(
    ("metrics", "begin", "end", "expected"),
    [
        ({"loss": [0, NAN, NAN, NAN]}, 0, 4, ("'loss'", "update 2")),
        ({"loss": [0, 0, 0, -INF]}, 40, 44, ("'loss'", "update 44")),
        ({"loss": [0, 0, INF], "q": [0, NAN, 0]}, 10, 16, ("'q'", "updates 13 to 14")),
        ({"loss": [0, NAN, 0], "q": [0, NAN, 0]}, 10, 16, ("'loss'", "updates 13 to 14")),
        ({"loss": [0, 0], "q": [NAN, 0]}, 0, 6, ("'q'", "updates 1 to 3")),
    ],
)
def test_the_first_metric_and_its_update(metrics, begin, end, expected):
    """An earlier update comes first; within an update, the order of the metrics decides."""
    assert message(metrics, begin=begin, end=end) == expected


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"loss": [[0, 0], [0, NAN], [0, 0]]}, ("'loss' (seed 1 of the run)", "updates 3 to 4")),
        ({"loss": [[0, INF], [0, 0], [NAN, 0]]}, ("'loss' (seed 2 of the run)", "updates 1 to 2")),
        (
            {"loss": [[0, 0], [0, NAN], [0, NAN]], "q": [[0, 0], [0, 0], [NAN, 0]]},
            ("'q' (seed 2 of the run)", "updates 1 to 2"),
        ),
    ],
)
def test_the_first_metric_of_several_seeds(metrics, expected):
    assert message(metrics, seeds=True) == expected


class State(struct.PyTreeNode):
    step: jnp.ndarray
    params: dict


def test_a_leaf_of_the_state_is_named():
    """The update within the chunk is unknown; integers are always finite."""
    state = State(
        jnp.int32(3), {"Dense_0": {"bias": jnp.zeros(2), "kernel": jnp.array([[0.0, NAN]])}}
    )
    expected = ("'state.params['Dense_0']['kernel']'", "updates 5 to 8")
    assert message(FINITE, state, begin=4, end=8) == expected
    assert message(FINITE, state, begin=4, end=5) == (expected[0], "update 5")


def test_a_leaf_of_a_seeds_state_is_named():
    kernel = jnp.zeros((3, 2, 2)).at[1, 1, 0].set(INF)
    state = State(jnp.zeros(3, jnp.int32), {"bias": jnp.zeros(3), "kernel": kernel})
    expected = ("'state.params['kernel']' (seed 1 of the run)", "updates 1 to 4")
    assert message({"loss": np.zeros((3, 4))}, state, seeds=True) == expected


def test_a_metric_is_named_before_the_state():
    state = State(jnp.int32(3), {"kernel": jnp.array([NAN])})
    assert message({"loss": [0, 0, NAN, NAN]}, state) == ("'loss'", "update 3")


def test_only_the_mean_may_overflow():
    state = State(jnp.int32(3), {"kernel": jnp.zeros(2)})
    metrics = {"loss": np.float32([3e38, 3e38])}
    assert message(metrics, state) == ("the mean of a metric", "updates 1 to 4")
