"""Rollouts judged by recorded ones and by Hopper's simulator, against figures computed here."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from dawm_jax.data.formats.minari import load
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.sources import SOURCES, RolloutSource
from dawm_jax.types import Context, Transition, Window
from experiments.fidelity import held_out, judge
from experiments.fidelity.description import describe
from experiments.fidelity.judge import (
    Rollouts,
    actions_recovered,
    against_the_data,
    against_the_simulator,
    terminals_by_rule,
)
from experiments.reporting import figures
from experiments.run.config import build
from experiments.run.context import Run
from experiments.simulation.simulator import make_simulator
from experiments.stages.measure import measure_transitions

MODELS = ["synthetic", "one_step_model", "repeated"]
LABELS = ["synthetic", "one-step model", "repeated"]  # of them in pictures
ROLLOUTS = [name for name, source in SOURCES.items() if isinstance(source(), RolloutSource)]
Z, ANGLE, SPEED = 0, 1, slice(5, 11)  # of Hopper's observation


@pytest.fixture(scope="module")
def dataset(recorded):
    return load(recorded)


@pytest.fixture(scope="module")
def simulator(dataset):
    return make_simulator(dataset)


@pytest.fixture(scope="module")
def window(dataset):
    """Every eighth recorded window of four states; some end in a terminal state."""
    windows = WindowSet.of(dataset, 4)
    return jax.device_get(windows.at(jnp.arange(0, len(windows.starts), 8)))


@pytest.fixture(scope="module")
def played(window):
    """The windows with the actions that were recorded in them."""
    return Rollouts(
        observation=window.observation,
        action=window.action[:, :-1],
        reward=window.reward[:, :-1],
        terminal=window.terminal[:, 1:],
        valid=window.observation_mask[:, 1:],
    )


@pytest.fixture(scope="module")
def steps(dataset):
    """Every third recorded step as a window of two states."""
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[::3], to_transitions(dataset))
    pair = np.stack([rows.observation, rows.next_observation], axis=1)
    return Rollouts(
        observation=pair,
        action=rows.action[:, None],
        reward=rows.reward[:, None],
        terminal=(rows.discount == 0.0)[:, None],
        valid=np.ones((len(pair), 1), bool),
    )


def unclipped(observation):
    return (np.abs(observation[..., SPEED]) < 10.0).all(axis=-1)


def judged(simulator, one):
    report = against_the_simulator(simulator, {"model": one})
    return report["changes"]["model"], report["rewards"].get("model")


def test_recorded_windows_agree_with_the_simulator(simulator, played):
    assert (~played.valid).any()
    changes, rewards = judged(simulator, played)
    assert np.shape(changes["dimensions"]) == (3, 11)
    assert np.min(changes["dimensions"]) > 0.99
    assert min(changes["pooled"] + rewards) > 0.99


def test_other_actions_do_not_agree_with_the_simulator(simulator, played):
    changes, _ = judged(simulator, replace(played, action=played.action[::-1]))
    assert max(changes["pooled"]) < 0.5


def test_a_wrong_change_and_reward_lower_the_share_by_their_variance(simulator, steps):
    rng = np.random.default_rng(0)
    known = unclipped(steps.observation).all(axis=1)
    change = np.diff(steps.observation.astype(np.float64), axis=1)[:, 0]
    off = rng.normal(size=change.shape) * change[known].std(axis=0) * np.linspace(0.1, 1.0, 11)
    off *= known[:, None]
    off[:, SPEED] *= np.abs(steps.observation[:, 1, SPEED] + off[:, SPEED]) < 10.0
    paid_off = rng.normal(size=len(change)) * 0.3
    one = replace(
        steps,
        observation=steps.observation + np.stack([np.zeros_like(off), off], axis=1),
        reward=steps.reward + paid_off[:, None],
    )
    expected = 1 - (off[known] ** 2).mean(axis=0) / change[known].var(axis=0)
    changes, rewards = judged(simulator, one)
    np.testing.assert_allclose(changes["dimensions"], [expected], atol=2e-3)
    assert changes["pooled"] == pytest.approx([expected.mean()], abs=2e-3)
    paid = 1 - (paid_off[known] ** 2).mean() / steps.reward[known].var()
    assert rewards == pytest.approx([paid], abs=2e-3)


@pytest.mark.parametrize("state", [0, 1])
def test_states_of_clipped_velocity_are_left_out(simulator, steps, state):
    observation = steps.observation.copy()
    observation[::2, state, Z] += 5.0
    assert judged(simulator, replace(steps, observation=observation))[0]["dimensions"][0][0] < 0.0
    observation[::2, state, SPEED.start + 3] = -10.0
    changes, rewards = judged(simulator, replace(steps, observation=observation))
    assert min(*changes["dimensions"][0], *rewards) > 0.99
    observation[:, state, SPEED.start] = 10.0
    changes, rewards = judged(simulator, replace(steps, observation=observation))
    assert changes == {"pooled": [None], "dimensions": [[None] * 11]}
    assert rewards == [None]


def test_transitions_that_do_not_exist_are_left_out(simulator, played):
    observation, reward, valid = (
        played.observation.copy(),
        played.reward.copy(),
        played.valid.copy(),
    )
    observation[::2, 2:, Z] += 5.0
    reward[::2, 1:] = 99.0
    valid[::2, 1:] = False
    one = replace(played, observation=observation, reward=reward, valid=valid)
    changes, rewards = judged(simulator, one)
    assert min(*np.ravel(changes["dimensions"]), *rewards) > 0.99


def test_a_model_without_rewards_is_judged_by_its_changes(simulator, played):
    still = np.broadcast_to(played.observation[:, :1], played.observation.shape)
    changes, rewards = judged(simulator, replace(played, observation=still, reward=None))
    assert rewards is None
    assert max(changes["pooled"]) <= 0.0


def healthy(observation):
    return (observation[..., Z] > 0.7) & (np.abs(observation[..., ANGLE]) < 0.2)


def test_flags_by_the_rule_agree_with_it(simulator, played):
    ended = ~healthy(played.observation[:, 1:])
    rate = ended[played.valid].mean()
    assert 0.0 < rate < 0.5
    assert terminals_by_rule(simulator, replace(played, terminal=ended)) == {
        "precision": 1.0,
        "recall": 1.0,
        "base_rate": pytest.approx(rate),
        "agreement": 1.0,
    }


def test_wrong_flags_are_counted_where_the_state_exists(simulator, played):
    ended = ~healthy(played.observation[:, 1:])
    flags = ended ^ (np.random.default_rng(0).random(ended.shape) < 0.3)
    right, flagged = ended[played.valid], flags[played.valid]
    assert terminals_by_rule(simulator, replace(played, terminal=flags)) == {
        "precision": pytest.approx(right[flagged].mean()),
        "recall": pytest.approx(flagged[right].mean()),
        "base_rate": pytest.approx(right.mean()),
        "agreement": pytest.approx((right == flagged).mean()),
    }
    without_rule = SimpleNamespace(terminal=lambda observation: None)
    assert terminals_by_rule(without_rule, played) is None


@dataclass(frozen=True)
class Pushed:
    """A simulator in which actions are added to the state, which is known below 2."""

    features: int = 2

    def settable(self, observation):
        return (observation < 2.0).all(axis=-1)

    def step(self, observation, action):
        following = observation + action
        return following[:, : self.features], action[:, 0], following[:, 0] > 1.0


def test_actions_are_recovered_where_states_are_known():
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(200, 4, 2))
    action = rng.uniform(-1.0, 1.0, size=(200, 3, 2))
    valid = rng.random((200, 3)) < 0.8
    one = Rollouts(observation, action, None, np.zeros_like(valid), valid)

    def infer(state, following):
        assert following.dtype == np.float32
        return 0.5 * (following - state)

    counted = [
        action[b, t]
        for b in range(200)
        for t in (1, 2)
        if valid[b, t] and max(*observation[b, t], *(observation[b, t] + action[b, t])) < 2.0
    ]
    assert 0.5 < len(counted) / valid[:, 1:].sum() < 1.0
    expected = 1 - np.mean(np.square(counted) / 4, axis=0) / np.var(counted, axis=0)
    found = actions_recovered(Pushed(), one, infer)
    np.testing.assert_allclose(found["dimensions"], expected, rtol=1e-5)
    assert actions_recovered(Pushed(features=1), one, infer) is None


def test_windows_are_compared_with_recorded_ones_where_those_exist(window, played):
    rng = np.random.default_rng(0)
    off = rng.normal(size=window.observation.shape) * 0.1
    observation = window.observation + off
    observation[:, 1:][~played.valid] = 77.0
    reward = 0.5 * window.reward[:, :-1]
    still = np.broadcast_to(window.observation[:, :1], window.observation.shape)
    nowhere = np.zeros_like(played.valid)
    model = replace(played, observation=observation, reward=reward, valid=nowhere)
    standing = replace(played, observation=still, reward=None)
    found = against_the_data(window, {"recorded": played, "model": model, "still": standing})
    assert [list(found[name]) for name in ("states", "rewards", "variance_ratio")] == [
        ["model", "still"],
        ["model"],
        ["model", "still"],
    ]
    for t in range(3):
        rows = played.valid[:, t]
        true = window.observation[rows, t + 1].astype(np.float64)
        expected = 1 - (off[rows, t + 1] ** 2).mean(axis=0) / true.var(axis=0)
        np.testing.assert_allclose(found["states"]["model"]["dimensions"][t], expected, rtol=1e-4)
        paid = window.reward[rows, t].astype(np.float64)
        share = 1 - np.mean((0.5 * paid) ** 2) / paid.var()
        assert found["rewards"]["model"][t] == pytest.approx(share, rel=1e-4, abs=1e-4)
    exists = played.valid
    spread = still[:, 1:][exists].var(axis=0) / window.observation[:, 1:][exists].var(axis=0)
    found = found["variance_ratio"]["still"]["dimensions"]
    np.testing.assert_allclose(found, spread, rtol=1e-3)


@dataclass(frozen=True)
class Walked:
    """A one-step model that adds the action to the state and pays the state."""

    def roll_out(self, state, observation, actions):
        states = jnp.cumsum(jnp.concatenate([observation[:, None], actions], axis=1), axis=1)
        return states, states[:, :-1, 0]


@pytest.mark.parametrize("infers", [True, False])
def test_each_model_continues_the_recorded_first_state(infers):
    rng = np.random.default_rng(0)
    observation, synthetic = rng.normal(size=(2, 5, 4, 2)).astype(np.float32)
    action, chosen = rng.normal(size=(2, 5, 4, 2)).astype(np.float32)
    reward = rng.normal(size=(5, 4))
    exists, terminal = np.ones((5, 4), bool), np.zeros((5, 4), bool)
    exists[0, 2:] = False
    terminal[1, 3] = terminal[2, 2] = terminal[3, 1] = True
    context = Context(observation[:, 0], action[:, 0], np.zeros(5))
    window = Window(context, observation, action, reward, terminal, exists, exists)
    ends = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)
    own = Rollouts(synthetic, chosen[:, :3], reward[:, :3] + 1.0, ~ends, ends)
    fidelity = SimpleNamespace(one_step_model=Walked())
    run = SimpleNamespace(components=SimpleNamespace(fidelity=fidelity))
    infer = (lambda states, following: following - states) if infers else None
    found = held_out._compared(run, window, own, None, infer)

    still = np.repeat(observation[:, :1], 4, axis=1)
    walked = np.cumsum(np.concatenate([observation[:, :1], action[:, :-1]], axis=1), axis=1)
    expected = {
        "recorded": (observation, reward[:, :3]),
        "one_step_model": (walked, walked[:, :3, 0]),
        "repeated": (still, None),
    }
    assert found.pop("synthetic") is own
    assert found.keys() == expected.keys()
    for name, (states, paid) in expected.items():
        one = found[name]
        np.testing.assert_allclose(one.observation, states, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(one.valid, exists[:, 1:])
        np.testing.assert_array_equal(one.terminal, terminal[:, 1:])
        moved = np.diff(states, axis=1) if infers else action[:, :3].copy()
        moved[:, 0] = action[:, 0]
        if name == "one_step_model":
            moved = action[:, :3]
        np.testing.assert_allclose(one.action, moved, rtol=1e-4, atol=1e-6)
        if paid is None:
            assert one.reward is None
        else:
            np.testing.assert_allclose(one.reward, paid, rtol=1e-5, atol=1e-6)


@dataclass(frozen=True)
class Drift(RolloutSource):
    """Rollouts that add noise of each rollout's own key; the second step of some is terminal."""

    steps: int = 3

    def rollout(self, states, context, keys, discount):
        noise = jax.vmap(lambda key: jax.random.normal(key, (self.steps, 11)))(keys)
        following = context.observation[:, None] + states["drift"] * jnp.cumsum(noise, axis=1)
        before = jnp.concatenate([context.observation[:, None], following[:, :-1]], axis=1)
        shape = following.shape[:2]
        terminal = (jnp.arange(self.steps) == 1) & (noise[:, :1, 0] > 0.0)
        action = jnp.broadcast_to(context.action[:, None], (*shape, 3))
        valid = jnp.cumsum(terminal, axis=1) - terminal == 0
        transitions = Transition(
            observation=before,
            action=action,
            reward=jnp.broadcast_to(context.return_to_go[:, None], shape),
            discount=jnp.where(terminal, 0.0, discount),
            next_observation=following,
            next_action=action,
            next_action_mask=~terminal,
            recorded=jnp.zeros(shape, bool),
        )
        return transitions, valid


@pytest.fixture(scope="module")
def drift(finished, dataset):
    """Runs of a source that only drifts: its held-out windows, and how to compare them."""
    config, workdir, _ = finished
    run, source = Run(config, build(config), workdir, dataset), Drift()
    windows = held_out.held_out_windows(run, source)
    states = {"drift": jnp.float32(0.5)}
    return windows, lambda *sizes: held_out.compare(run, source, states, windows, *sizes)


def test_rollouts_start_where_held_out_windows_do(drift):
    windows, compare = drift
    window, rollouts = compare(1_000)
    count = len(window.reward)
    assert count == min(64, len(windows.starts))
    assert rollouts.observation.shape == (count, 4, 11)
    for found in (rollouts.observation[:, 0], window.context.observation):
        np.testing.assert_array_equal(found, window.observation[:, 0])
    np.testing.assert_array_equal(rollouts.action[:, 0], window.action[:, 0])
    np.testing.assert_array_equal(rollouts.reward[:, 0], window.context.return_to_go)
    ended = rollouts.terminal[:, 1]
    assert 0.0 < ended.mean() < 1.0
    assert not rollouts.terminal[:, [0, 2]].any()
    np.testing.assert_array_equal(rollouts.valid, np.stack([ended | True, ended | True, ~ended], 1))


@pytest.mark.parametrize(("chunk", "count"), [(5, None), (1_000, 7), (2, 7)])
def test_the_length_of_a_call_changes_no_rollout(drift, chunk, count):
    _, compare = drift
    size = count and (1_000, count)
    for few, all_at_once in zip(compare(chunk, count), compare(*size or (1_000,)), strict=True):
        for part, whole in zip(jax.tree.leaves(few), jax.tree.leaves(all_at_once), strict=True):
            np.testing.assert_allclose(part, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("count", "chunk", "length"), [(7, 9, 7), (7, 3, 3), (8, 5, 4), (1, 1, 1)])
def test_windows_are_spread_over_the_fewest_calls(count, chunk, length):
    assert held_out.windows_per_call(count, chunk) == length


def test_transitions_are_judged_where_states_are_known():
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(300, 3)).astype(np.float32)  # of which the simulator has two
    action = rng.uniform(-1.0, 1.0, size=(300, 3)).astype(np.float32)
    off = rng.normal(size=(300, 3))
    following = (observation + action + 0.1 * off).astype(np.float32)
    reward = action[:, 0] + 0.5
    ends = rng.random(300) < 0.4
    step = Transition(
        observation=observation,
        action=action,
        reward=reward,
        discount=np.where(ends, 0.0, 0.99),
        next_observation=following,
        next_action=action,
        next_action_mask=~ends,
        recorded=~ends,
    )
    found = judge.transitions(Pushed(), step)
    known = (observation < 2.0).all(axis=1) & (following < 2.0).all(axis=1)
    assert 0.8 < known.mean() < 1.0
    assert found["judged"] == known.sum()
    expected = 1 - np.mean((0.1 * off[known, :2]) ** 2, axis=0) / action[known, :2].var(axis=0)
    np.testing.assert_allclose(found["changes"]["dimensions"], expected, rtol=1e-3)
    assert found["rewards"] == pytest.approx(1 - 0.25 / action[known, 0].var(), rel=1e-3)
    assert found["reward_bias"] == pytest.approx(0.5, rel=1e-5)
    rule, flags = (observation + action)[known, 0] > 1.0, ends[known]
    assert found["terminals"] == {
        "precision": pytest.approx(rule[flags].mean()),
        "recall": pytest.approx(flags[rule].mean()),
        "base_rate": pytest.approx(rule.mean()),
    }


def test_transitions_of_no_known_state_are_not_judged():
    wide = np.full((4, 2), 3.0, np.float32)
    flat = np.zeros(4, np.float32)
    step = Transition(wide, wide, flat, flat, wide, wide, flat > 0, flat > 0)
    found = judge.transitions(Pushed(), step)
    assert found["judged"] == 0
    assert found["reward_bias"] is found["rewards"] is found["changes"]["pooled"] is None


def test_sums_of_several_rewards_are_not_judged(config, dataset, tmp_path, capsys):
    config.dawm.return_steps = 2
    run = Run(config, build(config), tmp_path, dataset)
    sums = jax.tree.map(lambda leaf: leaf[:100], to_transitions(dataset))
    found = measure_transitions(run, "dawm", run.data_stage, sums)
    assert found["simulator"] is None
    assert found["nearest_recorded"]["synthetic"] == 0.0
    assert "dawm: transitions that sum several rewards are not judged" in capsys.readouterr().out


def test_recorded_transitions_agree_with_the_simulator(simulator, dataset):
    step = jax.tree.map(lambda leaf: np.asarray(leaf)[::5], to_transitions(dataset))
    found = judge.transitions(simulator, step)
    assert 0 < found["judged"] < len(step.reward)
    assert min(found["changes"]["pooled"], found["rewards"]) > 0.99
    assert abs(found["reward_bias"]) < 1e-3
    assert found["terminals"]["precision"] == found["terminals"]["recall"] == 1.0


@pytest.fixture(scope="module")
def report(finished):
    """The figures of DAWM's rollouts in a finished run."""
    return finished[2]["sources"]["dawm"]["fidelity"]["rollouts"]


@pytest.fixture(scope="module")
def bare(finished, dataset):
    """The figures of untrained models of two states on data that name no environment."""
    config = finished[0].copy_and_resolve_references()
    config.dawm.world_model.horizon = 2
    components = build(config)
    run = Run(config, components, finished[1], replace(dataset, environment=None))
    source, key, data = components.sources["dawm"], jax.random.key(0), run.splits[0]
    states = {name: m.init(key, source.data(name, data)) for name, m in source.models().items()}
    one_step_model = components.fidelity.one_step_model
    one_step = one_step_model.init(key, TransitionSet(to_transitions(data)))
    windows = held_out.held_out_windows(run, source)
    compared = held_out.compare(run, source, states, windows, 1_000)
    return held_out.measure(run, source, states, one_step, windows, *compared)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_the_report_keeps_the_contract(finished, name):
    config, _, results = finished
    report, source = results["sources"][name]["fidelity"]["rollouts"], build(config).sources[name]
    assert report.keys() == {
        "windows",
        "states",
        "rewards",
        "variance_ratio",
        "spread",
        "simulator",
        "actions",
        "terminals",
        "returns",
    }
    assert report["windows"] > 0
    judged = report["simulator"]
    for shares, names in (
        (report["states"], MODELS),
        (judged["changes"], ["recorded", *MODELS]),
    ):
        assert list(shares) == names
        for share in shares.values():
            assert np.shape(share["pooled"]) == (source.steps,)
            assert np.shape(share["dimensions"]) == (source.steps, 11)
    assert list(report["rewards"]) == MODELS[:2]
    assert list(judged["rewards"]) == ["recorded", *MODELS[:2]]
    for shares in (*report["rewards"].values(), *judged["rewards"].values()):
        assert np.shape(shares) == (source.steps,)
    assert list(report["variance_ratio"]) == MODELS
    for ratio in report["variance_ratio"].values():
        assert ratio["pooled"] == pytest.approx(np.mean(ratio["dimensions"]))
    assert np.shape(report["spread"]["states"]["pooled"]) == (source.steps,)
    assert np.shape(report["spread"]["states"]["dimensions"]) == (source.steps, 11)
    assert np.shape(report["spread"]["actions"]["dimensions"]) == (source.steps - 1, 3)
    assert all(ratio > 0.0 for ratio in report["spread"]["states"]["pooled"])
    if hasattr(source, "infer_action"):
        assert list(report["actions"]) == ["recorded", "unclipped", "synthetic"]
        assert [len(shares["dimensions"]) for shares in report["actions"].values()] == [3] * 3
    else:
        assert report["actions"] is None
    assert list(report["terminals"]) == ["windows", "rule"]
    assert report["terminals"]["windows"].keys() == {"precision", "recall", "base_rate"}
    assert 0.0 <= report["terminals"]["rule"]["agreement"] <= 1.0


def test_targets_are_quantiles_of_the_return_to_go(report, finished, dataset):
    episodes = dataset.episodes
    acted = np.asarray(episodes.steps_left) > 0
    to_go = np.asarray(episodes.return_to_go, np.float64)[acted] / dataset.return_scale
    own, *others = report["returns"]
    assert own["quantile"] is None
    assert to_go.min() < own["target"] < to_go.max()
    assert [entry["quantile"] for entry in others] == [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    for entry in others:
        expected = np.quantile(to_go, entry["quantile"])
        assert entry["target"] == pytest.approx(expected, rel=1e-5)
    for entry in report["returns"]:
        assert np.isfinite(entry["obtained"])
        assert entry["standard_error"] > 0.0


def test_what_cannot_be_measured_is_none(bare):
    assert bare["windows"] > 0
    assert bare["simulator"] is bare["terminals"]["rule"] is bare["returns"] is None
    assert bare["actions"]["recorded"]["pooled"] is not None
    assert bare["actions"]["unclipped"] is bare["actions"]["synthetic"] is None
    assert np.shape(bare["states"]["one_step_model"]["dimensions"]) == (1, 11)


def test_nothing_is_compared_without_a_held_out_window(finished, dataset):
    config = finished[0].copy_and_resolve_references()
    config.held_out = 0.0
    components = build(config)
    source = components.sources["dawm"]
    run = Run(config, components, finished[1], dataset)
    assert held_out.held_out_windows(run, source) is None
    short = replace(dataset, lengths=np.array([2]), terminated=np.array([False]))
    too_long = SimpleNamespace(components=components, splits=(dataset, short))
    assert held_out.held_out_windows(too_long, source) is None


def test_the_description_has_every_figure(report, bare):
    lines = describe(report).splitlines()

    def shown(kind):
        (line,) = (line for line in lines if line.strip().startswith(kind))
        return line.strip().removeprefix(kind).split()

    def figures(shares):
        return ["-" if share is None else f"{share:.3f}" for share in shares]

    for model in MODELS:
        assert shown(f"states, {model}") == figures(report["states"][model]["pooled"])
        changes = report["simulator"]["changes"][model]["pooled"]
        assert shown(f"changes of state, {model}") == figures(changes)
    for kind, shares in report["actions"].items():
        assert shown(f"inferred actions, {kind}") == [f"{shares['pooled']:.3f}"]
    ratio = report["variance_ratio"]["synthetic"]["pooled"]
    for kind, ratios in report["spread"].items():
        assert shown(f"spread over error, {kind}") == figures(ratios["pooled"])
    assert shown("variance, synthetic / recorded") == [f"{ratio:.3f}"]
    agreement = report["terminals"]["rule"]["agreement"]
    assert shown("terminals, rule:")[-2:] == ["agreement", f"{agreement:.3f}"]
    own = report["returns"][0]
    assert f"{own['target']:.2f} -> {own['obtained']:.2f}" in lines[-1]
    shorter = describe(bare)
    assert "simulator" not in shorter
    assert "actions, recorded" in shorter
    assert "rule" not in shorter
    hidden = describe({**bare, "rewards": {"synthetic": [None, 0.25]}})
    assert [line.split()[-2:] for line in hidden.splitlines() if "rewards" in line] == [
        ["-", "0.250"]
    ]
    assert "inferred actions" not in describe({**bare, "actions": None})


def drawn(report, path):
    """The labels of each panel's legend, of a page that can be saved."""
    figure = figures.fidelity(report)
    figure.savefig(path / "fidelity.png")
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low < high
    labels = [axes.get_legend_handles_labels()[1] for axes in figure.axes]
    plt.close(figure)
    return labels


def test_the_page_shows_what_was_measured(report, bare, tmp_path):
    returns = ["quantiles of the data", "each state's own"]
    recorded = ["recorded", *LABELS]
    actions = ["recorded", "unclipped", "synthetic"]
    assert drawn(report, tmp_path) == [LABELS, recorded, LABELS[:2], LABELS, actions, returns]
    assert drawn(bare, tmp_path) == [LABELS, [], LABELS[:2], LABELS, ["recorded"], []]


def test_the_page_shows_shares_far_below_zero_and_none(bare, tmp_path):
    poor = {
        **bare,
        "rewards": {"synthetic": [-7.0, -9.0, None], "one_step_model": [-8.0, None, None]},
        "actions": {"recorded": {"pooled": None, "dimensions": [None] * 3}},
    }
    assert drawn(poor, tmp_path)[2] == LABELS[:2]
    assert drawn({**poor, "actions": None}, tmp_path)[4] == []
