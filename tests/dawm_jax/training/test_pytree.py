"""Reductions over a pytree, against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.training.pytree import all_finite, norm

SHAPES = [(3, 4), (3, 4), (3, 4), (4,), (), (4,), (2, 3, 4)]


@pytest.fixture
def tree():
    rng = np.random.default_rng(0)
    leaves = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in SHAPES]
    return {"weights": leaves, "step": jnp.int32(2**31 - 1), "half": jnp.bfloat16(1.5)}


def test_norm_is_the_norm_of_all_leaves(tree):
    numbers = [np.asarray(leaf, np.float64).ravel() for leaf in [*tree["weights"], tree["half"]]]
    np.testing.assert_allclose(norm(tree), np.linalg.norm(np.concatenate(numbers)), rtol=1e-6)


def test_finite_numbers_are_finite_however_large(tree):
    tree["weights"] = [leaf * 1e38 for leaf in tree["weights"]]
    assert all_finite(tree)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(len(SHAPES)))
def test_a_nonfinite_number_is_found_in_any_leaf(tree, place, wrong):
    leaf = tree["weights"][place]
    tree["weights"][place] = leaf.ravel().at[-1].set(wrong).reshape(leaf.shape)
    assert not all_finite(tree)


def test_one_reduction_per_shape_and_dtype(tree):
    program = jax.make_jaxpr(norm)(tree)
    made = [equation.primitive.name for equation in program.eqns]
    assert made.count("reduce_sum") == len({*SHAPES}) + 1
