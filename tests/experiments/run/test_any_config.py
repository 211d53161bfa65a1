"""Every config either raises a UserError or builds parts that fit together."""

from collections.abc import Iterator
from functools import reduce

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from dawm_jax.diffusion.samplers import SAMPLERS
from dawm_jax.errors import UserError
from dawm_jax.learners import LEARNERS
from dawm_jax.models.termination import TerminationModel
from dawm_jax.sources import SOURCES
from experiments.configs import small
from experiments.run.config import build, chunk_length, names


def paths(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Every block and every setting, e.g. dawm.world_model.steps."""
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, ConfigDict):
            yield from paths(value, f"{prefix}{name}.")


SETTINGS = list(paths(small.get_config()))
NAN, INF = float("nan"), float("inf")
VALUES = st.one_of(
    st.sampled_from([NAN, INF, -INF, -1, -0.5, 0, 0.0, 1e-320, 1e30, 10**12, 10**400]),
    st.sampled_from([0.5, 1, 1.0, 2, 3, 5, 6, 8, 64, 500, 1000, 5000, 10_000, 1_000_000]),
    st.sampled_from([True, None, "", "bc", "minmax", "quantile", "absolute", "epsilon", "ddim"]),
    st.sampled_from([(), (0,), (8, 8), (1, 1), (NAN,), ("iql", "bc"), ("td3bc,bc",), ("a",), [8]]),
    st.sampled_from([("recorded",), ("dawm",), ("dawm,recorded",)]),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
)


def changed(changes: list, lost: list, added: list) -> ConfigDict:
    """The small config as a careless user's file makes it."""
    config = small.get_config().unlock()
    with config.ignore_type():
        for path, value in changes:
            block, name = place(config, path)
            block[name] = value
        for path in lost:
            block, name = place(config, path)
            del block[name]
        for path, name in added:
            block = config.get(path.split(".")[0])
            (block if isinstance(block, ConfigDict) else config)[name] = 1
    return config


def place(config: ConfigDict, path: str) -> tuple[ConfigDict, str]:
    """The block of a setting, and its name there."""
    *blocks, name = path.split(".")
    return reduce(ConfigDict.__getitem__, blocks, config), name


lengths = st.sampled_from(
    [
        "log_every",
        "updates",
        "checkpoint_every",
        "evaluate_every",
        "dawm.world_model.steps",
        "fidelity.one_step_model.steps",
        "td3bc.policy_delay",
    ]
)
changes = st.one_of(
    st.lists(st.tuples(st.sampled_from(SETTINGS), VALUES), max_size=3),
    st.lists(st.tuples(lengths, st.sampled_from([1, 2, 3, 4, 500, 1500, 5000])), max_size=4),
)
lost = st.one_of(st.just([]), st.lists(st.sampled_from(SETTINGS), max_size=1))
added = st.one_of(
    st.just([]), st.lists(st.tuples(st.sampled_from(SETTINGS), st.sampled_from("ab")), max_size=1)
)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(changes, lost, added)
def test_a_config_is_rejected_or_builds_parts_that_fit(changes, lost, added):
    try:
        config = changed(changes, lost, added)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return  # ml_collections refuses it
    try:
        parts = build(config)
    except UserError:
        return
    assert tuple(parts.sources) == tuple(dict.fromkeys(names(config.sources)))
    assert tuple(parts.learners) == tuple(dict.fromkeys(names(config.learners)))
    models = [model for one in parts.sources.values() for model in one.models().values()]
    models.append(parts.fidelity.one_step_model)
    learners = list(parts.learners.values())
    for part in (*models, *learners):
        chunk = chunk_length(config, part)
        every = config.evaluate_every if part in learners else config.checkpoint_every
        assert part.steps % chunk == chunk % part.updates_per_step == 0
        assert every % chunk == 0 or every >= part.steps
        assert np.prod(part.batch_shape) > 0
        if isinstance(part, TerminationModel):
            continue  # the others learn by gradients
        final = getattr(part, "final_learning_rate", part.learning_rate)
        assert np.isfinite(np.float32(final) / np.float32(part.learning_rate))
    if "dawm" in parts.sources:
        dawm = parts.sources["dawm"]
        process = dawm.world_model.process
        times = process.grid(dawm.sampling.sampling_steps)
        assert len(times) == dawm.sampling.sampling_steps + 1
        assert (np.diff(times) < 0).all()
        alpha, sigma = (np.asarray(of(times)) for of in (process.alpha, process.sigma))
        assert ((alpha >= 0) & (alpha <= 1)).all()
        assert (sigma[:-1] > 0).all()
        coefficients = SAMPLERS[dawm.sampling.sampler](alpha, sigma)
        assert np.isfinite(np.float32(coefficients)).all()
        assert np.isfinite(dawm.target.of(np.array([-1.0, 0.0, 2.0]))).all()
    for name in (SOURCES.keys() | LEARNERS.keys()) - parts.sources.keys() - parts.learners.keys():
        if name in config:
            del config[name]
    assert build(config) == parts
