"""Whether devices that compute something else fail their checks."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import UserError
from dawm_jax.learners import BC, DataStatistics
from experiments.benchmark.gpu import correctness
from experiments.benchmark.gpu.checks import Check, check_of_update
from experiments.benchmark.gpu.correctness import compared, relative_errors
from experiments.benchmark.random_data import random_dataset
from experiments.benchmark.table import checks_table


@pytest.fixture
def product():
    x = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    return Check("product", lambda x: {"square": x @ x}, (jnp.asarray(x),), 1e-5)


def rounded(tree):
    """A pytree in the precision of TF32: ten bits after the point."""

    def one(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        mantissa, exponent = jnp.frexp(leaf)
        return jnp.ldexp(jnp.round(mantissa * 2**11) / 2**11, exponent)

    return jax.tree.map(one, tree)


def test_inputs_rounded_as_tf32_rounds_factors_fail():
    dataset, learner = random_dataset(100), BC(hidden=(16,), batch_size=32)
    state = jax.jit(learner.init)(jax.random.key(0), DataStatistics.of(dataset))
    check = check_of_update("bc", learner, TransitionSet(to_transitions(dataset)), state, 1e-4)
    function = jax.jit(check.function)
    expected = jax.device_get(function(*check.inputs))
    found = jax.device_get(function(*rounded(check.inputs)))
    errors = relative_errors(found, expected)
    assert max(errors.values()) > check.bound
    assert set(relative_errors(expected, expected).values()) == {0.0}


@pytest.mark.parametrize(
    ("perturb", "passed"),
    [
        (lambda x: x, True),
        (lambda x: x * (1 + 1e-6), True),
        (lambda x: x * (1 + 1e-4), False),
        (lambda x: x * np.nan, False),
        (lambda x: x[0], False),
    ],
)
def test_a_check_fails_if_the_device_computes_something_else(
    monkeypatch, tmp_path, product, perturb, passed
):
    real = correctness.outputs

    def outputs(check, device, precision):
        found = real(check, jax.devices()[0], precision)
        return found if device == "reference" else jax.tree.map(perturb, found)

    monkeypatch.setattr(correctness, "outputs", outputs)
    [row] = compared([product], "reference")
    assert row["passed"] == passed
    json.dumps(row, allow_nan=False)
    assert ("FAILED" in correctness.describe(row)) != passed


def test_the_table_of_checks_shows_the_largest_error_at_each_precision():
    right = {"check": "a", "bound": 1e-4, "passed": True}
    right["errors"] = {"highest": {"x": 2e-6, "y": 3e-6}, "default": {"x": 2e-3, "y": 1e-3}}
    wrong = {**right, "check": "b", "passed": False, "errors": {"highest": {"x": None, "y": 0.1}}}
    lines = checks_table([{"checks": [right, wrong]}]).splitlines()
    assert lines[2:] == [
        "| a | 1e-04 | 3.0e-06 | 2.0e-03 | passed |",
        "| b | 1e-04 | inf | inf | failed |",
    ]


def test_a_check_that_raises_is_a_failed_one_and_the_others_are_made(
    monkeypatch, tmp_path, product, capsys
):
    broken = Check("broken", lambda x: {"square": x @ x[1:]}, product.inputs, 1.0)
    monkeypatch.setattr(correctness, "checks", lambda *_: [broken, product])
    failed = correctness.write_correctness("tiny", (16,), tmp_path / "found.json")
    assert failed == ["broken"]
    results = json.loads((tmp_path / "found.json").read_text())
    assert [row["passed"] for row in results["checks"]] == [False, True]
    assert results["checks"][0]["raised"].startswith("TypeError: ")
    assert results["failed"] == failed
    assert results["settings"]["matmul_precision"] == "default"
    assert results["checks"][1]["errors"].keys() == {"highest", "default"}


def test_the_error_is_that_of_the_whole_pytree():
    expected = {"a": [np.array([3.0]), np.array([4.0])], "b": np.zeros(2)}
    found = {"a": [np.array([3.0]), np.array([4.5])], "b": np.zeros(2)}
    assert relative_errors(found, expected) == {"a": pytest.approx(0.1), "b": 0.0}
    assert relative_errors({"b": np.ones(2)}, {"b": np.zeros(2)}) == {"b": None}


def test_without_a_cpu_backend_the_way_out_is_named(monkeypatch):
    def missing(backend):
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "local_devices", missing)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError, match="JAX_PLATFORMS 'cuda': unset it, or append ',cpu'"):
        correctness.reference_device()
