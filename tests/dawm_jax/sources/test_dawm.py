"""DAWM's windows as transitions, and the inputs of its models."""

from dataclasses import dataclass, replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset, random_episode

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import UserError
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.return_quantile import ReturnQuantile
from dawm_jax.models.termination import TerminationModel
from dawm_jax.models.window_codec import DIFFUSED
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.sources import DAWM, ReturnTarget
from dawm_jax.sources.base import cut_rollouts
from dawm_jax.sources.fall_penalty import penalized
from dawm_jax.types import Context, Rollout

KEY = jax.random.key(0)


def test_rollouts_are_cut_into_transitions():
    observation = jax.random.normal(KEY, (3, 4, 5))
    reward = np.arange(9, dtype=np.float32).reshape(3, 3)
    action = np.arange(1, 19, dtype=np.float32).reshape(3, 3, 2)
    terminal = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 1]], bool)
    arrays = [jnp.asarray(array) for array in (action, reward, action[:, 1:], terminal)]
    transitions, valid = cut_rollouts(observation, *arrays, 0.9)
    np.testing.assert_array_equal(transitions.observation, observation[:, :3])
    np.testing.assert_array_equal(transitions.next_observation, observation[:, 1:])
    np.testing.assert_array_equal(transitions.reward, reward)
    np.testing.assert_array_equal(transitions.action, action)
    expected = [[0.9, 0.9, 0.9], [0.9, 0.0, 0.9], [0.0, 0.9, 0.0]]
    np.testing.assert_allclose(transitions.discount, expected)
    assert transitions.discount.dtype == jnp.float32
    np.testing.assert_array_equal(valid, [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    assert not transitions.recorded.any()
    # Unknown after the last step, and where the next state is terminal.
    known = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0]], bool)
    np.testing.assert_array_equal(transitions.next_action_mask, known)
    following = np.concatenate([action[:, 1:], np.zeros((3, 1, 2))], axis=1)
    expected = np.where(known[..., None], following, 0.0)
    np.testing.assert_array_equal(transitions.next_action, expected)


@dataclass(frozen=True)
class Sequence(WorldModel):
    """Windows whose states are the first one plus 0, 1, 4, 9, ..., given `state` as the unit."""

    def sample(self, state, context, keys, sampling, recorded=None):
        assert recorded is None
        assert sampling == Sampling(sampling_steps=2, temperature=0.25)
        number = jnp.arange(self.horizon)
        noise = jax.vmap(jax.random.normal)(keys)
        return Rollout(
            observation=context.observation[:, None] + state * (number**2.0)[:, None],
            reward=context.return_to_go[:, None] + noise[:, None] * (number == 1),
            terminal=jnp.broadcast_to(number == 3, (len(keys), self.horizon)),
        )


@dataclass(frozen=True)
class Difference(InverseDynamics):
    """The change of the first two features, given `state` as a factor."""

    def predict(self, state, observation, next_observation):
        return state * (next_observation - observation)[..., :2]


@dataclass(frozen=True)
class Beyond(TerminationModel):
    """States beyond `state` are terminal."""

    def terminal(self, state, observation):
        return observation[..., 0] > state


@pytest.mark.parametrize("diffused", [DIFFUSED, (*DIFFUSED, "terminal")])
def test_the_first_action_is_the_recorded_one_and_the_others_are_inferred(diffused):
    """The third state after the first, 1 + 2 * 9, ends each rollout by either model."""
    sampling = Sampling(sampling_steps=2, temperature=0.25)
    source = DAWM(Sequence(diffused=diffused), Difference(), Beyond(), sampling)
    states = {"world_model": 2.0, "inverse_dynamics": 0.5, "termination": 18.0}
    context = Context(jnp.ones((4, 3)), jnp.full((4, 2), -0.25), jnp.arange(4.0))
    keys = jax.random.split(KEY, 4)
    transitions, valid = source.rollout(states, context, keys, 0.9)
    assert source.steps == 7
    expected = np.array([-0.25, 3, 5, 7, 9, 11, 13])  # of changes 2, 6, 10, ...
    np.testing.assert_allclose(transitions.action, np.tile(expected[:, None], (4, 1, 2)))
    rewards = np.tile(np.arange(4.0)[:, None], 7)
    rewards[:, 1] += jax.vmap(jax.random.normal)(keys)
    np.testing.assert_allclose(transitions.reward, rewards, rtol=1e-6)
    np.testing.assert_array_equal(valid, np.tile(np.arange(7) < 3, (4, 1)))
    later = 0.9 if "terminal" in diffused else 0.0
    np.testing.assert_allclose(transitions.discount[0], [0.9, 0.9, 0, *[later] * 4])
    states = (transitions.observation[:, 1:], transitions.next_observation[:, :-1])
    np.testing.assert_array_equal(*states)


def test_the_models_in_the_order_and_with_the_data_of_their_training(small_source, small_dataset):
    source, _ = small_source
    assert list(source.models().items()) == [
        ("world_model", source.world_model),
        ("inverse_dynamics", source.inverse_dynamics),
        ("termination", source.termination),
    ]
    ends = WorldModel(diffused=(*DIFFUSED, "terminal"))
    assert list(DAWM(world_model=ends).models()) == ["world_model", "inverse_dynamics"]
    windows = source.data("world_model", small_dataset)
    chex.assert_trees_all_equal(windows, WindowSet.of(small_dataset, source.steps + 1))
    transitions = source.data("inverse_dynamics", small_dataset)
    assert isinstance(transitions, TransitionSet)
    assert len(transitions.recorded.reward) == small_dataset.transitions
    assert transitions.synthetic is None
    ends = source.data("termination", small_dataset)
    chex.assert_trees_all_equal(ends, source.termination.data(transitions.recorded))
    shortened = DAWM(world_model=source.world_model, skip_truncated_tail=5)
    expected = WindowSet.of(small_dataset, source.steps + 1, 5)
    chex.assert_trees_all_equal(shortened.data("world_model", small_dataset), expected)
    assert len(expected.starts) < len(windows.starts)


def test_more_sampling_steps_than_diffusion_steps_are_rejected():
    with pytest.raises(UserError, match=r"sampling_steps is 6; it must be between 1 and .*, 5"):
        DAWM(sampling=Sampling(sampling_steps=6))


def test_a_setting_of_another_type_is_named():
    with pytest.raises(UserError, match=r"^DAWM.skip_truncated_tail is -1"):
        DAWM(skip_truncated_tail=-1)
    with pytest.raises(UserError, match=r"^DAWM.world_model is .*settings of class WorldModel"):
        DAWM(world_model=InverseDynamics())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"return_steps": 8}, "return_steps is 8; a window has only 7 transitions"),
        ({"return_steps": 2, "return_lambda": 0.9}, "return_steps is 2 and DAWM.return_lambda 0.9"),
        ({"return_lambda": 1.1}, "return_lambda is 1.1"),
    ],
)
def test_wrong_returns_are_named(settings, message):
    with pytest.raises(UserError, match=f"^DAWM.{message}"):
        DAWM(**settings)


def test_a_fall_penalty_changes_the_return_to_go_alone():
    rng = np.random.default_rng(0)
    episodes = [random_episode(rng, steps, ended) for steps, ended in ((4, True), (3, False))]
    fallen = [
        (o, a, r - 10.0 * (ended & (np.arange(len(r)) == len(r) - 1)), ended)
        for o, a, r, ended in episodes
    ]
    dataset, expected = make_dataset(episodes, 0.9), make_dataset(fallen, 0.9)
    found = penalized(dataset, 10.0)
    to_go = expected.episodes.return_to_go
    np.testing.assert_allclose(found.episodes.return_to_go, to_go, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.episodes.reward, dataset.episodes.reward)
    assert penalized(dataset, 0.0) is dataset
    source = DAWM(world_model=WorldModel(horizon=4), fall_penalty=10.0, start_preference=0.0)
    windows = source.data("world_model", dataset)
    np.testing.assert_allclose(windows.episodes.return_to_go, to_go, rtol=1e-5, atol=1e-5)
    inputs = replace(source, target=ReturnTarget(quantile=0.0)).inputs(dataset)
    np.testing.assert_allclose(inputs.return_to_go, np.delete(to_go, [4, 8]), rtol=1e-5, atol=1e-5)


@dataclass(frozen=True)
class SumOfInputs(ReturnQuantile):
    """The sum of state and action, plus `state`."""

    def predict(self, state, observation, action):
        return state + observation.sum(-1) + action.sum(-1)


class Asked(DAWM):
    """Returns what it is asked for."""

    def rollout(self, states, context, keys, discount, recorded=None):
        return context, recorded


def test_a_conditional_target_is_at_least_the_predicted_and_the_recorded_return(small_dataset):
    source = Asked(target=ReturnTarget(conditional=True), return_quantile=SumOfInputs())
    assert list(source.models())[-1] == "return_quantile"
    inputs = source.inputs(small_dataset)
    context, window = source.generate({"return_quantile": 0.5}, inputs, jnp.arange(40), KEY)
    assert window is None
    states = np.asarray(small_dataset.episodes.observation)
    row = np.argmin(np.abs(states[:, None] - context.observation).sum(-1), axis=0)
    recorded = np.asarray(small_dataset.episodes.return_to_go)[row] / 2.0
    quantile = 0.5 + states[row].sum(-1) + context.action.sum(-1)
    assert 0.1 < np.mean(recorded > quantile) < 0.9
    expected = np.maximum(recorded, quantile)
    np.testing.assert_allclose(context.return_to_go, expected, rtol=1e-5, atol=1e-6)


def test_the_quantiles_are_of_the_return_that_the_windows_have(small_source, small_dataset):
    source = replace(small_source[0], fall_penalty=10.0, target=ReturnTarget(conditional=True))
    rows = source.data("return_quantile", small_dataset)
    recorded = replace(source, target=ReturnTarget(quantile=0.0), start_preference=0.0)
    expected = recorded.inputs(small_dataset)
    np.testing.assert_allclose(rows.return_to_go, expected.return_to_go)


@pytest.mark.parametrize("tail", [0, 4])
def test_a_start_from_recorded_windows_takes_whole_ones_alone(small_dataset, tail):
    """Every window that the world model is trained on, with the target of its start."""
    source = Asked(
        WorldModel(horizon=8),
        sampling=Sampling(start=0.5),
        target=ReturnTarget(own=1.5),
        start_preference=0.0,
        skip_truncated_tail=tail,
    )
    context, window = source.generate({}, source.inputs(small_dataset), jnp.arange(2_000), KEY)
    windows = source.data("world_model", small_dataset)
    starts = np.asarray(small_dataset.episodes.observation)[windows.starts]
    number = np.argmin(np.abs(starts[:, None] - window.observation[:, 0]).sum(-1), axis=0)
    assert set(number) == set(range(len(starts)))
    true = windows.at(number)
    chex.assert_trees_all_equal(window.replace(context=None), true.replace(context=None))
    np.testing.assert_array_equal(context.observation, true.context.observation)
    np.testing.assert_array_equal(context.action, true.context.action)
    to_go = np.asarray(true.context.return_to_go)
    target = np.where(to_go > 0.0, to_go * 1.5, to_go / 1.5)
    np.testing.assert_allclose(context.return_to_go, target, rtol=1e-5)


def test_windows_from_noise_start_at_every_step(small_dataset):
    source = DAWM(world_model=WorldModel(horizon=8), start_preference=0.0)
    assert len(np.unique(source.inputs(small_dataset).rows)) == small_dataset.transitions
    favoring = DAWM(world_model=WorldModel(horizon=8)).inputs(small_dataset)
    assert len(np.unique(favoring.rows)) < len(favoring.rows) == small_dataset.transitions


def test_windows_that_are_noised_by_nothing_are_the_recorded_ones(small_source, small_dataset):
    """The inferred actions replace all but the first; one program for all calls of a shape."""
    source, states = small_source
    source = replace(source, sampling=Sampling(start=0.0))
    inputs = source.inputs(small_dataset)
    generate = jax.jit(source.generate)
    generated, valid = generate(states, inputs, jnp.arange(30), KEY)
    again, _ = generate(states, inputs, jnp.arange(30, 60), jax.random.key(1))
    assert generate._cache_size() == 1
    assert (again.reward != generated.reward).any()
    recorded = to_transitions(small_dataset)
    first = jax.tree.map(lambda leaf: np.asarray(leaf[:, 0]), generated)
    rows = np.argmin(np.abs(recorded.observation[:, None] - first.observation).sum(-1), axis=0)
    assert valid[:, 0].all()
    for name in ("observation", "action", "reward", "next_observation"):
        expected = getattr(recorded, name)[rows]
        np.testing.assert_allclose(getattr(first, name), expected, atol=1e-5)
