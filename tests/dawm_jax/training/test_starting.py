"""New states: the same however they are made, and nothing is compiled for them twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from dawm_jax.data.windows import to_transitions
from dawm_jax.models.dynamics import OneStepModel
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.training.starting import made_beside

KEY = jax.random.key(3)


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("model", [InverseDynamics(hidden=(8,)), OneStepModel(hidden=(8,))])
def test_a_new_state_is_that_of_init(model, small_dataset):
    transitions = to_transitions(small_dataset)
    state = model.init(KEY, transitions)
    assert_equal(state, made_beside(model.new(KEY, transitions)))
    other = model.init(jax.random.key(4), transitions)
    assert_equal(state.observation, other.observation)  # normalizers are the data's
    kernels = [jax.tree.leaves(s.params)[1] for s in (state, other)]
    assert (kernels[0] != kernels[1]).any()


def test_users_are_compiled_for_what_is_made():
    traces = []

    @jax.jit
    def total(numbers):
        traces.append(numbers.dtype)
        return numbers.sum()

    seen = []
    numbers = made_beside(
        Partial(lambda x: 2 * x, jnp.arange(4)), lambda s: seen.append(s) or total.lower(s)
    )
    assert_equal(numbers, [0, 2, 4, 6])
    assert (seen[0].shape, seen[0].dtype) == ((4,), jnp.int32)
    assert total(numbers) == 12
    assert traces == [jnp.int32]


def test_what_goes_wrong_is_told():
    def wrong(shapes):
        raise ValueError("no such program")

    with pytest.raises(ValueError, match="no such program"):
        made_beside(Partial(jnp.sin, 1.0), wrong)
