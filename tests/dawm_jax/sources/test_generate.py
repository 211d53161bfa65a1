from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.data.windows import to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.sources.generate import Synthesis, rollout_transitions, synthesize, synthesize_parts
from dawm_jax.types import Context, Rollout


@dataclass(frozen=True)
class DifferenceModel:
    """Infers the difference of the first two observations as the action."""

    def predict(self, state, observation, next_observation):
        return (next_observation - observation)[..., :2]


@dataclass(frozen=True)
class EchoModel:
    """Imagines a window that stands still and whose rewards are the return-to-go asked for."""

    horizon: int = 4
    terminal_at: int | None = None

    def sample(self, state, context, keys, sampling):
        shape = (len(keys), self.horizon)
        return Rollout(
            observation=jnp.repeat(context.observation[:, None], self.horizon, axis=1),
            reward=jnp.broadcast_to(context.return_to_go[:, None], shape),
            terminal=jnp.broadcast_to(jnp.arange(self.horizon) == self.terminal_at, shape),
        )


def echo(dataset, key=0, model=EchoModel(), make=synthesize, **settings):
    settings = Synthesis(**settings)
    key = jax.random.key(key)
    return make(model, None, DifferenceModel(), None, dataset, settings, key)


def test_a_rollout_is_cut_into_transitions():
    observation = jax.random.normal(jax.random.key(0), (3, 4, 3))
    reward = np.arange(12, dtype=np.float32).reshape(3, 4)
    terminal = np.zeros((3, 4), bool)
    terminal[1, 2] = terminal[2, 1] = terminal[2, 3] = True
    context = Context(observation[:, 0], jnp.full((3, 2), 0.25), jnp.zeros(3))
    transitions, valid = rollout_transitions(
        Rollout(observation, reward, jnp.asarray(terminal)), context, DifferenceModel(), None, 0.9
    )
    np.testing.assert_array_equal(transitions.observation, observation[:, :3])
    np.testing.assert_array_equal(transitions.next_observation, observation[:, 1:])
    np.testing.assert_array_equal(transitions.reward, reward[:, :3])
    np.testing.assert_array_equal(transitions.action[:, 0], np.full((3, 2), 0.25))
    inferred = (observation[:, 2:] - observation[:, 1:3])[..., :2]
    np.testing.assert_array_equal(transitions.action[:, 1:], inferred)
    expected = [[0.9, 0.9, 0.9], [0.9, 0.0, 0.9], [0.0, 0.9, 0.0]]
    np.testing.assert_allclose(transitions.discount, expected)
    np.testing.assert_array_equal(valid, [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    assert not transitions.real.any()


RETURNS = np.array([-2.0, 0.0, 1.0, 3.0, 8.0])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target_return": 0.7}, (0.7, False)),
        ({"target_return": 0.0}, (0.0, False)),
        ({"target_quantile": 0.0}, (-2.0, True)),
        ({"target_quantile": 0.75, "target_stretch": 1.0}, (3.0, True)),
        ({"target_quantile": 0.75, "target_stretch": 1.2}, (-2 + 1.2 * 5, True)),
        ({"target_quantile": 1.0, "target_stretch": 1.1}, (-2 + 1.1 * 10, True)),
    ],
)
def test_the_wanted_return(settings, expected):
    assert Synthesis(**settings).wanted(RETURNS) == pytest.approx(expected)


def own_returns(dataset, observations):
    """The scaled return-to-go of the recorded steps that `observations` are."""
    episodes = dataset.episodes
    recorded = np.flatnonzero(np.asarray(episodes.steps_left))
    states = np.asarray(episodes.observation)[recorded]
    match = np.argmin(((observations[:, None] - states[None]) ** 2).sum(-1), axis=1)
    np.testing.assert_array_equal(states[match], observations)
    return np.asarray(episodes.return_to_go)[recorded][match] / dataset.return_scale, match


def test_quantile_zero_asks_for_the_recorded_return(small_dataset):
    transitions = echo(small_dataset, transitions=600, target_quantile=0.0)
    own, _ = own_returns(small_dataset, transitions.observation)
    np.testing.assert_allclose(transitions.reward, own, rtol=1e-5)


def test_a_better_recorded_return_stays(small_dataset):
    transitions = echo(small_dataset, transitions=600, target_quantile=0.5, target_stretch=1.1)
    own, _ = own_returns(small_dataset, transitions.observation)
    steps = np.asarray(small_dataset.episodes.steps_left) > 0
    to_go = np.asarray(small_dataset.episodes.return_to_go, np.float64)[steps] / 2.0
    wanted = to_go.min() + 1.1 * (np.median(to_go) - to_go.min())
    assert 0.1 < np.mean(own > wanted) < 0.9
    np.testing.assert_allclose(transitions.reward, np.maximum(own, wanted), rtol=1e-5)


def test_a_target_return_is_asked_of_every_window(small_dataset):
    transitions = echo(small_dataset, transitions=60, target_return=-0.3)
    np.testing.assert_allclose(transitions.reward, -0.3)


def test_every_recorded_step_is_a_context_with_its_own_action(small_dataset):
    transitions = echo(small_dataset, transitions=4000 * 3)
    first = slice(None, None, 3)
    _, match = own_returns(small_dataset, transitions.observation[first])
    actions = np.asarray(to_transitions(small_dataset).action)
    np.testing.assert_array_equal(transitions.action[first], actions[match])
    counts = np.bincount(match, minlength=small_dataset.transitions)
    expected = 4000 / small_dataset.transitions
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize(
    ("terminal_at", "chunk", "expected", "valid"),
    [
        (None, 1024, [34], 102),  # 34 windows of 3 transitions
        (None, 16, [16, 32, 34], 102),
        (2, 16, [16, 32, 34], 68),  # 2 of each window's 3 are valid
    ],
)
def test_the_count_in_all_and_in_parts(small_dataset, terminal_at, chunk, expected, valid):
    settings = {"model": EchoModel(terminal_at=terminal_at), "transitions": 100, "chunk": chunk}
    transitions = echo(small_dataset, **settings)
    assert len(transitions.reward) == valid
    assert np.mean(transitions.discount == 0) == (0 if terminal_at is None else 0.5)
    windows, parts = zip(*echo(small_dataset, make=synthesize_parts, **settings), strict=True)
    assert list(windows) == expected
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    jax.tree.map(np.testing.assert_array_equal, joined, transitions)


def test_another_count_or_target_needs_no_other_compilation(small_dataset):
    traced = []

    @dataclass(frozen=True)
    class Watched(EchoModel):
        def sample(self, state, context, keys, sampling):
            traced.append(sampling)
            return super().sample(state, context, keys, sampling)

    for settings in (
        {"transitions": 100},
        {"transitions": 200},
        {"transitions": 100, "target_quantile": 0.5, "target_stretch": 1.2},
    ):
        echo(small_dataset, model=Watched(), chunk=16, **settings)
    assert traced == [Sampling()]
    echo(small_dataset, model=Watched(), chunk=16, transitions=100, sampling_steps=2)
    assert traced == [Sampling(), Sampling(sampling_steps=2)]


def test_parts_from_a_later_window_on_are_the_same(small_dataset):
    settings = {"make": synthesize_parts, "transitions": 100, "chunk": 16}
    whole = list(echo(small_dataset, **settings))
    models = (EchoModel(), None, DifferenceModel(), None)
    rest = synthesize_parts(
        *models, small_dataset, Synthesis(transitions=100, chunk=16), jax.random.key(0), start=16
    )
    for (windows, part), (expected, same) in zip(rest, whole[1:], strict=True):
        assert windows == expected
        jax.tree.map(np.testing.assert_array_equal, part, same)


def test_the_result_does_not_depend_on_the_chunk(small_dataset, small_model):
    model, state = small_model()
    inverse_dynamics = InverseDynamics(hidden=(8,))
    idm_state = inverse_dynamics.init(jax.random.key(1), to_transitions(small_dataset))
    models = (model, state, inverse_dynamics, idm_state)
    whole, parts = (
        synthesize(*models, small_dataset, Synthesis(100, chunk=chunk), jax.random.key(2))
        for chunk in (1024, 9)
    )
    assert 0 < len(whole.reward) < 34 * 3  # some ended in a generated terminal state
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), whole, parts)


def test_the_key_decides(small_dataset):
    one, same, other = (echo(small_dataset, key, transitions=90).observation for key in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_quantile": 1.5}, "target_quantile is 1.5"),
        ({"target_quantile": -0.1}, "target_quantile is -0.1"),
        ({"transitions": 0}, "transitions is 0"),
        ({"chunk": -1}, "chunk is -1"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Synthesis(**settings)
