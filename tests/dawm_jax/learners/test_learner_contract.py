"""The contract of every learner, whatever its method."""

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset, random_episode

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import UserError
from dawm_jax.learners import IQL, LEARNERS, DataStatistics
from dawm_jax.learners.protocol import split_mean
from dawm_jax.training.loop import fit
from dawm_jax.types import Transition


@pytest.fixture(scope="module", params=LEARNERS)
def learner(request):
    return LEARNERS[request.param](steps=8, batch_size=8, hidden=(16, 16))


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    return make_dataset([random_episode(rng, 10, terminated=i % 2 == 0) for i in range(4)])


@pytest.fixture(scope="module")
def transitions(dataset):
    return to_transitions(dataset)


@pytest.fixture(scope="module")
def statistics(dataset):
    return DataStatistics.of(dataset)


@pytest.fixture(scope="module")
def data(transitions):
    synthetic = transitions.replace(recorded=jnp.zeros(40, bool))
    return TransitionSet(transitions, synthetic, synthetic_ratio=0.5)


@cache
def compiled(learner):
    """`init` and `update`, and the shapes of the batches that the latter was compiled for."""
    shapes = []

    def update(state, batch, key):
        shapes.append(batch.reward.shape)
        return learner.update(state, batch, key)

    return jax.jit(learner.init), jax.jit(update), shapes


def run(learner, statistics, data, seed=0, updates=3):
    """The last state and metrics of a few updates."""
    init, update, _ = compiled(learner)
    keys = jax.random.split(jax.random.key(seed), updates + 1)
    state = init(keys[0], statistics)
    for key in keys[1:]:
        state, metrics = update(state, data.sample(key, learner.batch_shape), key)
    return state, metrics


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def test_update_keeps_the_shapes_and_dtypes_of_the_state(learner, statistics, data):
    updated, _ = run(learner, statistics, data)
    initial = jax.eval_shape(learner.init, jax.random.key(0), statistics)
    chex.assert_trees_all_equal_shapes_and_dtypes(initial, updated)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(updated)}
    assert dtypes <= {jnp.dtype("float32"), jnp.dtype("int32")}


def test_metrics_are_finite_scalars_and_q_is_split_by_origin(learner, statistics, data):
    state, metrics = run(learner, statistics, data)
    assert "actor_loss" in metrics
    assert {value.shape for value in metrics.values()} == {()}
    assert all(np.isfinite(value) for value in metrics.values())
    assert ({"q_recorded", "q_synthetic"} <= set(metrics)) == hasattr(state, "critic")


def test_seeds_under_vmap_are_the_seeds_one_by_one(learner, statistics, data):
    init, update, _ = compiled(learner)
    over_seeds = jax.jit(jax.vmap(learner.update))
    keys = jax.random.split(jax.random.key(0), 3)
    alone = [init(key, statistics) for key in keys]
    together = stack(alone)
    for step in range(3):
        keys = [jax.random.fold_in(key, step) for key in keys]
        batches = [data.sample(key, learner.batch_shape) for key in keys]
        together, metrics = over_seeds(together, stack(batches), jnp.stack(keys))
        alone, alone_metrics = zip(*map(update, alone, batches, keys), strict=True)
    expected = (stack(alone), stack(alone_metrics))
    chex.assert_trees_all_close((together, metrics), expected, rtol=1e-4, atol=1e-5)


def test_the_seed_determines_every_bit(learner, statistics, data):
    first, again, other = (run(learner, statistics, data, seed) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    assert first[1]["actor_loss"] != other[1]["actor_loss"]


def test_update_compiles_once(learner, statistics, data, transitions):
    for each in (data, TransitionSet(transitions)):
        for seed in range(2):
            run(learner, statistics, each, seed)
    _, _, shapes = compiled(learner)
    *lead, size = learner.batch_shape
    assert shapes == [(*lead, 2 * size), (*lead, size)]


@pytest.mark.parametrize(
    ("settings", "networks"),
    [(["critic_rows"], ["critic", "value"]), (["critic_rows", "policy_rows"], ["actor"])],
)
def test_losses_of_recorded_rows_are_those_without_synthetic_rows(
    learner, statistics, data, settings, networks
):
    settings = {setting: "recorded" for setting in settings if hasattr(learner, setting)}
    keys = jax.random.split(jax.random.key(0), 3)
    state, batch = learner.init(keys[0], statistics), data.sample(keys[1], learner.batch_shape)
    axis = len(learner.batch_shape) - 1
    recorded = jax.tree.map(lambda leaf: jax.lax.slice_in_dim(leaf, 0, 8, axis=axis), batch)
    of_recorded = jax.jit(replace(learner, **settings).update)
    found, expected = (of_recorded(state, one, keys[2])[0] for one in (batch, recorded))
    of_all, _ = compiled(learner)[1](state, batch, keys[2])
    for name in networks:
        if hasattr(state, name):
            parameters = getattr(found, name)
            chex.assert_trees_all_close(parameters, getattr(expected, name), rtol=1e-4, atol=1e-6)
            unchanged = jax.tree.map(jnp.array_equal, parameters, getattr(of_all, name))
            assert not jax.tree.all(unchanged)


def test_act_gives_bounded_actions_whatever_the_batch_shape(learner, statistics):
    state = learner.init(jax.random.key(0), statistics)
    observation = jax.random.normal(jax.random.key(1), (12, 3))
    action = learner.act(state, observation)
    chex.assert_shape(action, (12, 2))
    assert action.dtype == jnp.float32
    assert len(np.unique(action, axis=0)) == 12
    assert jnp.abs(learner.act(state, 1000.0 * observation)).max() <= 1.0
    grid = learner.act(state, observation.reshape(3, 4, 3))
    np.testing.assert_allclose(grid, action.reshape(3, 4, 2), atol=1e-6)
    np.testing.assert_allclose(learner.act(state, observation[5]), action[5], atol=1e-6)


def test_both_policies_act_with_their_parameters(learner, statistics, data, transitions):
    """After the first step the averaged policy is a Polyak step away from the initial one."""
    init, update, _ = compiled(learner)
    keys = jax.random.split(jax.random.key(0), 2)
    state = init(keys[0], statistics)
    updated, _ = update(state, data.sample(keys[1], learner.batch_shape), keys[1])
    before, averaged, last = (
        learner.act(one, transitions.observation, policy)
        for one, policy in ((state, "averaged"), (updated, "averaged"), (updated, "last"))
    )
    np.testing.assert_array_equal(before, learner.act(state, transitions.observation, "last"))
    assert jnp.abs(last - before).max() > 1e-4
    moved = learner.polyak_step_size * (last - before)
    np.testing.assert_allclose(averaged - before, moved, atol=2e-6)


def test_seeds_are_initialized_without_batches_of_factorizations(learner, statistics):
    """Two at once can wait for each other in XLA's pool of threads, on a CPU of two cores."""
    init = jax.jit(jax.vmap(learner.init, in_axes=(0, None)))
    program = init.lower(jax.random.split(jax.random.key(0), 3), statistics).as_text()
    operands = re.findall(r"custom_call @lapack_.* : \(tensor<([\dx]*)xf32>", program)
    assert bool(operands) == isinstance(learner, IQL)
    assert {len(operand.split("x")) for operand in operands} <= {2}


INITIAL = {  # what each learner's code draws from: kind, its scale, and constant biases
    "bc": ("uniform", None),
    "td3bc": ("uniform", None),
    "iql": ("orthogonal", 0.0),
    "rebrac": ("uniform", 0.1),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_networks_are_initialized_as_in_the_methods_code(name, statistics):
    kind, bias = INITIAL[name]
    state = LEARNERS[name](hidden=(256, 256)).init(jax.random.key(0), statistics)
    for network in ("actor", "critic", "value"):
        if not hasattr(state, network):
            continue
        layers = jax.tree.map(np.asarray, network_layers(getattr(state, network)))
        for index in range(3):
            kernel, biases = (layers[f"Dense_{index}"][part] for part in ("kernel", "bias"))
            inputs, last = kernel.shape[-2], index == 2
            bound = inputs**-0.5
            if name == "rebrac" and last:
                bound = 1e-3 if network == "actor" else 3e-3
            if kind == "uniform":
                assert np.abs(kernel).max() == pytest.approx(bound, rel=0.05)
                assert kernel.std() == pytest.approx(bound / np.sqrt(3.0), rel=0.1)
                if bias is None or last:
                    assert 0.0 < np.abs(biases).max() <= bound
            else:
                for one in kernel.reshape(-1, *kernel.shape[-2:]):
                    few = one @ one.T if one.shape[0] <= one.shape[1] else one.T @ one
                    np.testing.assert_allclose(few, 2.0 * np.eye(len(few)), atol=1e-5)
            if bias is not None and not (name == "rebrac" and last):
                np.testing.assert_array_equal(biases, np.float32(bias))
        if network != "actor":
            continue
        others = LEARNERS[name](hidden=(256, 256)).init(jax.random.key(1), statistics)
        assert not jax.tree.all(jax.tree.map(jnp.array_equal, others.actor, state.actor))


def test_the_units_of_observations_do_not_matter(learner, statistics, transitions):
    def units(observation):
        return 4.0 * observation + 2.0

    in_units = TransitionSet(
        transitions.replace(
            observation=units(transitions.observation),
            next_observation=units(transitions.next_observation),
        )
    )
    statistics_in_units = statistics.replace(
        observation_mean=units(statistics.observation_mean),
        observation_std=4.0 * statistics.observation_std,
    )
    state, metrics = run(learner, statistics, TransitionSet(transitions))
    state_in_units, metrics_in_units = run(learner, statistics_in_units, in_units)
    chex.assert_trees_all_close(metrics, metrics_in_units, rtol=1e-4, atol=1e-5)
    action = learner.act(state_in_units, in_units.recorded.observation)
    expected = learner.act(state, transitions.observation)
    np.testing.assert_allclose(action, expected, rtol=1e-3, atol=1e-4)


def network_layers(params):
    """The layers of the MLP in `params`, by name."""
    inside = params["params"].items()
    return next(layers for name, layers in inside if name.endswith("MLP_0"))


def networks_of(learner, statistics):
    """The layers of each of a learner's networks, as shapes."""
    state = jax.eval_shape(learner.init, jax.random.key(0), statistics)
    averages = ("averaged_actor", "target_actor", "target_critic")
    names = ("actor", "critic", "value", *averages)
    return {n: network_layers(getattr(state, n)) for n in names if hasattr(state, n)}


@pytest.mark.parametrize("hidden", [(5,), (5, 4), (7, 6, 5, 4)], ids=len)
@pytest.mark.parametrize("name", LEARNERS)
def test_every_network_has_the_hidden_layers(name, hidden, statistics):
    networks = networks_of(LEARNERS[name](hidden=hidden), statistics)
    for network, layers in networks.items():
        dense = [layers[f"Dense_{i}"]["kernel"].shape[-2:] for i in range(len(hidden) + 1)]
        inputs, outputs = (5, 1) if "critic" in network else (3, 1 if network == "value" else 2)
        assert dense == list(pairwise((inputs, *hidden, outputs)))
        assert sum(layer.startswith("Dense") for layer in layers) == len(dense)


@pytest.mark.parametrize(
    "hidden", [(), (16, 0), (16, -1), (16.0,), ("16",), [16, 16], 16, (16, 100_000), None]
)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_wrong_value_of_hidden_is_an_error(name, hidden):
    with pytest.raises(UserError, match=rf"^{LEARNERS[name].__name__}\.hidden is .*; it must "):
        LEARNERS[name](hidden=hidden)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("name", ["td3bc", "iql", "rebrac"])
def test_layer_norm_is_in_the_critics_and_the_value_function(name, layer_norm, statistics):
    learner = LEARNERS[name](hidden=(8, 7), critic_layer_norm=layer_norm)
    for network, layers in networks_of(learner, statistics).items():
        widths = [v["scale"].shape[-1] for k, v in layers.items() if k.startswith("LayerNorm")]
        assert widths == ([8, 7] if layer_norm and "actor" not in network else [])


@pytest.mark.parametrize(
    ("name", "layer_norm"), [("td3bc", False), ("iql", False), ("rebrac", True)]
)
def test_layer_norm_is_rebracs_alone_unless_set(name, layer_norm):
    assert LEARNERS[name]().critic_layer_norm == layer_norm


class Bandit:
    """Episodes of one step: actions all over [-1, 1], more above 0, reward -(action - best)^2."""

    context = np.array([1.0, -1.0])
    best = np.array([0.5, -0.5])
    action = np.random.default_rng(0).uniform(np.repeat([-1.0, 0.0], 256), 1.0, size=(2, 512))
    reward = -((action - best[:, None]) ** 2)

    @classmethod
    def transitions(cls):
        observation = np.repeat(cls.context, 512)[:, None]
        fields = (observation, cls.action.reshape(-1, 1), cls.reward.ravel(), np.zeros(1024))
        rows = [jnp.asarray(field, jnp.float32) for field in fields]
        return Transition(
            *rows,
            next_observation=rows[0],
            next_action=jnp.zeros((1024, 1)),
            next_action_mask=jnp.zeros(1024, bool),
            recorded=jnp.ones(1024, bool),
        )

    @classmethod
    def advantage_weighted(cls):
        """The mean action that IQL's equations 5 and 7 lead to, Q being the reward."""
        value = cls.reward.mean(1, keepdims=True)
        for _ in range(100):
            expectile = np.where(cls.reward > value, 0.7, 0.3)
            value = np.average(cls.reward, axis=1, weights=expectile)[:, None]
        return np.average(cls.action, axis=1, weights=np.exp(3.0 * (cls.reward - value)))


BANDIT_ANSWERS = {
    "bc": ({}, Bandit.action.mean(1)),
    "td3bc": ({"bc_coefficient": 100.0}, Bandit.best),
    "iql": ({}, Bandit.advantage_weighted()),
    "rebrac": ({}, Bandit.best),
}


@pytest.mark.parametrize(
    "name",
    ["bc", "td3bc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("iql", "rebrac"))],
)
def test_the_known_answer_of_a_bandit_is_learnt(name):
    settings, answer = BANDIT_ANSWERS[name]
    learner = LEARNERS[name](
        steps=1500, batch_size=128, hidden=(32, 32), learning_rate=1e-3, **settings
    )
    statistics = DataStatistics(jnp.zeros(1), jnp.ones(1), jnp.float32(1000.0), action_dim=1)
    initial, data = learner.init(jax.random.key(0), statistics), TransitionSet(Bandit.transitions())
    state = fit(learner, initial, data, jax.random.key(1))
    action = learner.act(state, jnp.asarray(Bandit.context[:, None]))
    np.testing.assert_allclose(action[:, 0], answer, atol=0.1)


def test_statistics_are_those_of_the_recorded_states_and_returns(dataset, transitions, statistics):
    recorded = np.asarray(transitions.observation, np.float64)
    np.testing.assert_allclose(statistics.observation_mean, recorded.mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.observation_std, recorded.std(0), rtol=1e-5)
    returns = np.asarray(transitions.reward, np.float64).reshape(4, 10).sum(1)
    np.testing.assert_allclose(statistics.return_range, np.ptp(returns), rtol=1e-5)


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [([True, False, False, True], (3.0, 2.0)), ([True] * 4, (2.5, 0.0)), ([False] * 4, (0.0, 2.5))],
)
def test_split_mean_is_zero_where_there_are_no_rows(recorded, expected):
    means = split_mean("q", jnp.array([1.0, 2.0, 2.0, 5.0]), jnp.array(recorded))
    assert (means["q_recorded"], means["q_synthetic"]) == expected
