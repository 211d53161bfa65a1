"""Properties of every data set that `load` accepts; all others raise a UserError."""

from collections.abc import Callable
from functools import cache

import jax
import numpy as np
import pytest
from drawn import BEYOND, ENDS, drawn
from handmade import make_dataset, random_episode
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dawm_jax.data.holdout import hold_out
from dawm_jax.data.normalizer import NORMALIZERS, fit_standard
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions, window_starts
from dawm_jax.errors import UserError
from dawm_jax.learners import LEARNERS, DataStatistics
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.termination import TerminationModel
from dawm_jax.models.window_codec import DIFFUSED, fit_codec
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.sources import DAWM

HORIZON = 4
any_ends = st.one_of(
    st.sampled_from(list(ENDS.values())),
    st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=8),
)
many = settings(derandomize=True, deadline=None, max_examples=60)
few = settings(derandomize=True, deadline=None, max_examples=6, phases=[Phase.generate])


def finite(tree) -> bool:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return all(np.isfinite(leaf).all() for leaf in leaves if leaf.dtype.kind == "f")


@many
@given(drawn(any_ends, st.sampled_from([(1, 1), (3, 2), (11, 3)])))
def test_loaded_data_equal_the_recorded_data(data):
    dataset = data.load()
    episodes = jax.tree.map(np.asarray, dataset.episodes)
    steps = [len(episode.rewards) for episode in data.episodes]
    recorded = episodes.steps_left > 0
    assert finite((dataset.episodes, dataset.returns, dataset.return_scale))
    assert finite((dataset.action_low, dataset.action_high))
    assert dataset.lengths.tolist() == steps
    assert dataset.transitions == sum(steps) == recorded.sum()
    assert len(recorded) == sum(steps) + len(steps)
    observations = np.concatenate([episode.observations for episode in data.episodes])
    np.testing.assert_array_equal(episodes.observation, dataset.shift_observation(observations))
    actions = np.concatenate([episode.actions for episode in data.episodes])
    low, high = dataset.action_low, dataset.action_high
    clipped = np.clip(actions, low, high)
    assert np.abs(episodes.action).max() <= 1.0 + 1e-5
    error = np.abs(dataset.unscale_action(episodes.action[recorded]) - clipped)
    assert (error <= 1e-5 * (high - low + np.abs(low)) + 1e-40).all()
    row = 0
    for episode in data.episodes:
        rewards = episode.rewards.astype(np.float32).astype(np.float64)
        size = np.abs(rewards).sum()
        weights = data.discount ** np.arange(len(rewards))
        expected = [rewards[t:] @ weights[: len(rewards) - t] for t in range(len(rewards))]
        to_go = episodes.return_to_go[row : row + len(rewards)]
        np.testing.assert_allclose(to_go, expected, rtol=1e-5, atol=1e-6 * size + 1e-40)
        row += len(rewards) + 1


@many
@given(
    drawn(any_ends, st.just((3, 2))),
    st.sampled_from(sorted(BEYOND)),
    st.sampled_from(["observations", "actions", "rewards"]),
    st.integers(0, 10**6),
)
def test_a_single_unusable_number_is_found(data, beyond, field, place):
    episode = place % len(data.episodes)
    values = getattr(data.episodes[episode], field).reshape(-1)
    with np.errstate(over="ignore"):  # beyond float32, in arrays that are drawn as such
        values[place % values.size] = BEYOND[beyond]
    with pytest.raises(UserError, match=f"^episode {episode} of 'drawn-v0' has .* {field} at step"):
        data.load()


@many
@given(any_ends, st.integers(2, 14), st.integers(0, 14))
def test_no_window_crosses_the_end_of_an_episode(ends, horizon, skip):
    lengths, terminated = (np.array(column) for column in zip(*ends, strict=True))
    starts = window_starts(lengths, terminated, horizon, skip)
    last = np.cumsum(lengths + 1) - 1
    episode = np.searchsorted(last, starts)
    left = last[episode] - starts
    assert (left > 0).all()
    assert (np.diff(starts) > 0).all()
    assert (left[~terminated[episode]] >= max(horizon - 1, skip + 1)).all()
    counts = np.bincount(episode, minlength=len(ends))
    fitting = np.maximum(lengths - np.maximum(horizon - 2, skip), 0)
    assert counts.tolist() == np.where(terminated, lengths, fitting).tolist()


@many
@given(
    st.lists(
        st.floats(-(2.0**49), 2.0**49, width=32, allow_subnormal=False), min_size=1, max_size=40
    ),
    st.sampled_from(sorted(NORMALIZERS)),
)
def test_normalizers_are_finite_and_inverted(values, name):
    data = np.array(values, np.float32)[:, None]
    normalizer = NORMALIZERS[name](data)
    normal = np.asarray(normalizer.normalize(data))
    back = np.asarray(normalizer.unnormalize(normal))
    assert finite((normalizer, normal, back))
    assert (normal >= np.asarray(normalizer.low) - 1e-4).all()
    assert (normal <= np.asarray(normalizer.high) + 1e-4).all()
    spread = np.ptp(data.astype(np.float64))
    rounding = 1e-40 if spread else 1e-7  # of a constant, which lies in an interval of at least 1
    tolerance = 1e-5 * spread + 1e-6 * np.abs(data).max() + rounding
    assert np.abs(back.astype(np.float64) - data).max() <= tolerance


# Tests that compile: data of a few shapes and any values, with models and learners shared.
shaped = drawn(st.sampled_from([ENDS["one"], ENDS["mixed"], ENDS["tiny"]]), st.just((3, 2)))
CODECS = [
    ("absolute", "quantile", "quantile"),
    ("increment", "minmax", "standard"),
]
SMALL = {"horizon": HORIZON, "width": 8, "multipliers": (1,), "batch_size": 8, "steps": 100}
GROUPS = (*DIFFUSED, "terminal")
INVERSE = InverseDynamics(hidden=(8,), batch_size=8, steps=100)
TERMINATION = TerminationModel()


@cache
def model_of(target: str) -> WorldModel:
    return WorldModel(observation_target=target, diffused=GROUPS, **SMALL)


@cache
def compiled(component) -> Callable:
    return jax.jit(component.update)


@cache
def roll_out(model: WorldModel) -> Callable:
    """The transitions of a window from each of a batch's contexts."""
    source = DAWM(model, INVERSE, TERMINATION)

    def roll_out(states, context, discount, key):
        return source.rollout(states, context, jax.random.split(key, 8), discount)

    return jax.jit(roll_out)


@few
@given(shaped, st.sampled_from(CODECS))
def test_any_data_give_finite_models_and_rollouts(data, names):
    dataset = data.load()
    windows = WindowSet.of(dataset, HORIZON)
    model, key = model_of(names[0]), jax.random.key(0)
    state = initial(model).replace(codec=fit_codec(windows, *names, GROUPS))
    window = windows.sample(key, (8,))
    check_codec(state.codec, window, dataset.episodes)
    state, metrics = compiled(model)(state, window, key)
    assert finite((state, metrics))

    recorded = to_transitions(dataset)
    inverse = initial(INVERSE).replace(
        observation=fit_standard(np.asarray(recorded.observation)),
        change=fit_standard(np.asarray(recorded.next_observation - recorded.observation)),
    )
    batch = TransitionSet(recorded).sample(key, (8,))
    inverse, metrics = compiled(INVERSE)(inverse, batch, key)
    assert finite((inverse, metrics))

    ends = TERMINATION.data(recorded)
    tree, metrics = compiled(TERMINATION)(TERMINATION.init(key, ends), ends, key)
    assert finite((tree, metrics))
    states = {"world_model": state, "inverse_dynamics": inverse}
    transitions, valid = roll_out(model)(states, window.context, data.discount, key)
    assert finite(transitions)
    assert valid.shape == transitions.reward.shape == (8, HORIZON - 1)
    assert valid[:, 0].all()
    assert np.abs(transitions.action).max() <= 1.0
    np.testing.assert_array_equal(transitions.observation[:, 0], window.context.observation)


@cache
def initial(component):
    """An initial state of a model; shared, as initialization compiles."""
    dataset = make_dataset([random_episode(np.random.default_rng(0), 20, True)])
    if component is INVERSE:
        return component.init(jax.random.key(1), TransitionSet(to_transitions(dataset)))
    return component.init(jax.random.key(1), WindowSet.of(dataset, HORIZON))


@jax.jit
def encoded_and_decoded(codec, window):
    x0, mask = codec.encode(window)
    return x0, mask, codec.decode(x0, window.context)


def check_codec(codec, window, episodes) -> None:
    """Masks agree with the window; entries that count are decoded to it, within float32."""
    x0, mask, rollout = encoded_and_decoded(codec, window)
    assert finite(x0)
    seen, acted = np.asarray(window.observation_mask), np.asarray(window.reward_mask)
    size = window.observation.shape[-1]
    assert (acted <= seen).all()
    assert (np.asarray(window.terminal) >= ~seen).all()
    np.testing.assert_array_equal(mask[..., size], acted)
    np.testing.assert_array_equal(mask[:, 1:, 0], seen[:, 1:])
    assert mask[..., -1].all()
    for name, counts in (("observation", seen), ("reward", acted)):
        back, value = (np.asarray(getattr(of, name), np.float64) for of in (rollout, window))
        largest = np.abs(getattr(episodes, name)).max(axis=0)
        assert (np.abs(back - value)[counts] <= 1e-4 * largest + 1e-30).all()
    np.testing.assert_array_equal(rollout.terminal, window.terminal)


@few
@given(shaped, st.sampled_from(sorted(LEARNERS)))
def test_any_data_give_finite_learners(data, name):
    dataset = data.load()
    statistics = DataStatistics.of(dataset)
    assert finite(statistics)
    learner = LEARNERS[name](hidden=(8,), batch_size=8, steps=100)
    key = jax.random.key(0)
    state = initial_learner(learner).replace(statistics=statistics)
    batch = TransitionSet(to_transitions(dataset)).sample(key, learner.batch_shape)
    state, metrics = compiled(learner)(state, batch, key)
    assert finite((state, metrics))


@cache
def initial_learner(learner):
    dataset = make_dataset([random_episode(np.random.default_rng(0), 20, True)])
    return learner.init(jax.random.key(1), DataStatistics.of(dataset))


@few
@given(st.sampled_from(list(ENDS.values())), st.sampled_from([0.0, 0.05, 0.5, 0.99]))
def test_the_split_has_every_episode_once(ends, fraction):
    rng = np.random.default_rng(0)
    dataset = make_dataset([random_episode(rng, *end) for end in ends[:8]])
    rest, held_out = hold_out(dataset, fraction)
    parts = [rest] if held_out is None else [rest, held_out]
    assert (held_out is None) == (fraction == 0.0 or len(dataset.lengths) == 1)
    assert sum(part.transitions for part in parts) == dataset.transitions
    assert np.isclose(sum(part.returns.sum() for part in parts), dataset.returns.sum())
    assert all(len(part.episodes.reward) == part.transitions + len(part.lengths) for part in parts)
