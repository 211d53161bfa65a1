"""What holds for every config: it is refused with a UserError, or its parts fit together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from dawm_jax.diffusion.schedule import visited_steps
from dawm_jax.errors import UserError
from experiments.configs import small
from experiments.run.config import build, chunk_length, names

SETTINGS = [
    (block, name)
    for block, value in small.get_config().items()
    for name in (value if isinstance(value, ConfigDict) else [None])
]
NAN, INF = float("nan"), float("inf")
VALUES = st.one_of(
    st.sampled_from([NAN, INF, -INF, -1, -0.5, 0, 0.0, 1e-320, 1e30, 10**12, 10**400]),
    st.sampled_from([0.5, 1, 1.0, 2, 3, 5, 6, 8, 64, 500, 1000, 5000, 10_000, 1_000_000]),
    st.sampled_from([True, None, "", "bc", "minmax", "quantile", "absolute", "epsilon", "ddim"]),
    st.sampled_from([(), (0,), (8, 8), (1, 1), (NAN,), ("iql", "bc"), ("td3bc,bc",), ("a",), [8]]),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
)


def changed(changes: list, lost: list, added: list) -> ConfigDict:
    """The small config as a careless user's file makes it."""
    config = small.get_config().unlock()
    with config.ignore_type():
        for (block, name), value in changes:
            (config[block] if name else config)[name or block] = value
        for block, name in lost:
            del (config[block] if name else config)[name or block]
        for (block, _), name in added:
            place = config.get(block)
            (place if isinstance(place, ConfigDict) else config)[name] = 1
    return config


lengths = st.sampled_from(
    [
        ("log_every", None),
        ("updates", None),
        ("checkpoint_every", None),
        ("evaluate_every", None),
        ("world_model", "steps"),
        ("td3bc", "policy_delay"),
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
def test_a_config_is_refused_or_builds_parts_that_fit(changes, lost, added):
    try:
        config = changed(changes, lost, added)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return  # ml_collections refuses it
    try:
        parts = build(config)
    except UserError:
        return
    assert tuple(parts.learners) == tuple(dict.fromkeys(names(config.learners)))
    model, learners = parts.world_model, list(parts.learners.values())
    for part in (model, parts.inverse_dynamics, *learners):
        chunk = chunk_length(config, part)
        every = config.evaluate_every if part in learners else config.checkpoint_every
        assert part.steps % chunk == chunk % part.updates_per_step == 0
        assert every % chunk == 0 or every >= part.steps
        assert np.prod(part.batch_shape) > 0
        final = getattr(part, "final_learning_rate", part.learning_rate)
        assert np.isfinite(np.float32(final) / np.float32(part.learning_rate))
    visited = visited_steps(model.diffusion_steps, parts.synthesis.sampling_steps)
    assert (np.diff(visited) > 0).all()
    assert visited[-1] == model.diffusion_steps
    signal = model._signal_rate[visited]
    assert ((signal > 0) & (signal < 1)).all()
    assert np.isfinite(parts.synthesis.wanted(np.array([-1.0, 0.0, 2.0]))[0])
