from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from dawm_jax.data.windows import to_transitions
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.sources.generate import PROBED, Synthesis, fitting_chunk, rollout_transitions
from dawm_jax.training import memory
from dawm_jax.types import Context


def peak(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return memory.peak_bytes(jax.make_jaxpr(function)(*arguments).jaxpr)


def chain(x):
    for _ in range(10):
        x = jnp.sin(x)  # only one of them and the next are there at once
    return x


def kept(x):
    many = [jnp.sin(x) for _ in range(10)]
    return sum(many[1:], many[0])  # all ten, and the first sum


def wide(x):
    many = [jnp.sin(jnp.cos(x)) for _ in range(10)]  # side by side, so that all twenty are there
    return sum(many[1:], many[0])


def scanned(x):
    """The last carry, 5 outputs, and in each pass a result besides the next carry."""
    return jax.lax.scan(lambda c, _: (jnp.cos(jnp.sin(c)), c), x, None, length=5)


@pytest.mark.parametrize(
    ("function", "numbers"),
    [(chain, 200), (kept, 1100), (wide, 2000), (jax.jit(chain), 200), (scanned, 700)],
)
def test_the_peak_is_what_is_alive_at_once(function, numbers):
    assert peak(function, (100,)) == 4 * numbers


def test_a_result_counts_in_bytes_of_its_type():
    assert peak(lambda x: x.astype(jnp.bfloat16), (100,)) == 200
    assert peak(lambda x: x @ x.T, (10, 30)) == 4 * (300 + 100)


def test_the_fullest_device_decides(monkeypatch):
    stats = [{"bytes_limit": 100, "bytes_in_use": used} for used in (10, 70, 20)]
    devices = [SimpleNamespace(memory_stats=lambda one=one: one) for one in stats]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    assert memory.free_bytes() == 30


def test_devices_that_do_not_tell_share_the_machines_memory(monkeypatch):
    alone = memory.free_bytes()
    silent = SimpleNamespace(memory_stats=lambda: None)
    monkeypatch.setattr(jax, "local_devices", lambda: [silent] * 100)
    assert 0.5 * alone < 100 * memory.free_bytes() < 2 * alone  # others use it at the same time
    assert 2**26 < alone < 2**46


@pytest.fixture
def models(small_dataset, small_model):
    inverse_dynamics = InverseDynamics(hidden=(8,))
    inferred = inverse_dynamics.init(jax.random.key(1), to_transitions(small_dataset))
    return (*small_model(), inverse_dynamics, inferred)


@pytest.mark.parametrize(("narrow", "most"), [(0, 3.0), (1024, 8.0)], ids=["wide", "narrow"])
def test_a_chunk_takes_what_the_compiler_sets_aside(
    small_dataset, models, narrow_up_to, narrow, most
):
    """The estimate, of the program as it stands, is at least half of what that is.

    XLA fuses most of what is done with narrow windows, so that they take less than estimated.
    """
    narrow_up_to(narrow)
    model, state, inverse_dynamics, inferred = models

    def imagine(state, inferred, windows):
        zeros = jnp.zeros((windows, 3))
        context = Context(zeros, zeros[:, :2], zeros[:, 0])
        keys = jax.random.split(jax.random.key(0), windows)
        rollout = model.sample(state, context, keys)
        return rollout_transitions(rollout, context, inverse_dynamics, inferred, 1.0)

    compiled = jax.jit(imagine, static_argnums=2).lower(state, inferred, 1024).compile()
    sizes = compiled.memory_analysis()
    needed = (sizes.temp_size_in_bytes + sizes.output_size_in_bytes) / 1024
    program = jax.make_jaxpr(imagine, static_argnums=2)(state, inferred, PROBED).jaxpr
    estimated = memory.HELD * memory.peak_bytes(program) / PROBED
    assert 0.5 < estimated / needed < most


def test_the_chunk_follows_from_the_free_memory(small_dataset, models, monkeypatch):
    def chunk(free, mesh=None):
        monkeypatch.setattr("dawm_jax.sources.generate.free_bytes", lambda: free)
        return fitting_chunk(*models, small_dataset, Synthesis(), mesh)

    some = chunk(2**22)
    assert 1 < some < 2_048
    assert some & (some - 1) == 0
    assert chunk(2**23) == 2 * some
    assert chunk(2**22, SimpleNamespace(size=6)) == 6 * some
    assert chunk(0) == 1
    assert chunk(2**40) == 2_048  # more are not faster on a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chunk(2**40) == 16_384
    assert chunk(2**40, SimpleNamespace(size=256)) == 2**19
