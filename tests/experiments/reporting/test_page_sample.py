"""Rollouts are found again in the file of a run's transitions."""

from dataclasses import replace

import numpy as np
import pytest

from dawm_jax.data.formats.minari import load
from dawm_jax.errors import UserError
from dawm_jax.types import Transition
from experiments.reporting.page import sample as module
from experiments.reporting.page.sample import sample, steps_of
from experiments.store import transitions

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def dataset(recorded):
    """Hopper's, with an origin and bounds of actions that scale them."""
    origin = np.arange(-5.0, 6.0)
    bounds = {"action_low": np.full(3, -3.0), "action_high": np.full(3, 1.0)}
    return replace(load(recorded), observation_origin=origin, **bounds)


def rollout(length, terminal):
    states = RNG.normal(size=(length + 1, 11)).astype(np.float32)
    discount = np.full(length, 0.99, np.float32)
    if terminal:
        discount[-1] = 0.0
    return {
        "observation": states[:-1],
        "action": RNG.uniform(-1.0, 1.0, (length, 3)).astype(np.float32),
        "reward": np.arange(length, dtype=np.float32),
        "discount": discount,
        "next_observation": states[1:],
        "next_action": np.zeros((length, 3), np.float32),
        "next_action_mask": np.zeros(length, bool),
        "recorded": np.zeros(length, bool),
    }


def stored(folder, rollouts, dataset):
    joined = {name: np.concatenate([one[name] for one in rollouts]) for name in rollouts[0]}
    transitions.write_part(folder / "part.npz", Transition(**joined), dataset)
    transitions.join([folder / "part.npz"], folder / "transitions.npz")
    return folder / "transitions.npz"


@pytest.fixture
def rollouts():
    lengths = RNG.integers(1, 8, 60)
    return [rollout(length, length < 7) for length in lengths]


def test_a_small_file_is_read_whole_and_scaled_back(dataset, rollouts, tmp_path):
    drawn = sample(stored(tmp_path, rollouts, dataset), dataset, 10_000)
    assert drawn.lengths.tolist() == [len(one["reward"]) for one in rollouts]
    for number in (0, 1, 30, 59):
        found = drawn.rollout(number)
        for name in ("observation", "action", "reward"):
            np.testing.assert_allclose(found[name], rollouts[number][name], atol=1e-6)
    assert drawn.step[: len(rollouts[0]["reward"])].tolist() == list(range(drawn.lengths[0]))


def test_of_a_large_file_whole_rollouts_are_drawn(dataset, rollouts, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 30)
    drawn = sample(stored(tmp_path, rollouts, dataset), dataset, 90)
    assert 30 < len(drawn.step) <= 90
    whole = {one["observation"].tobytes() for one in rollouts}
    found = [drawn.rollout(number) for number in range(len(drawn.lengths))]
    assert len({one["observation"].tobytes() for one in found} & whole) == len(found)


def test_a_terminal_state_ends_a_rollout_even_if_the_next_one_starts_there():
    first, second = rollout(2, True), rollout(2, False)
    second["observation"][0] = first["next_observation"][-1]
    block = {name: np.concatenate([first[name], second[name]]) for name in first}
    assert steps_of(block).tolist() == [0, 1, 0, 1]
    block["discount"][:] = 0.99
    assert steps_of(block).tolist() == [0, 1, 2, 3]


def test_a_rollout_longer_than_a_block_is_kept(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 10)
    drawn = sample(stored(tmp_path, [rollout(50, False)], dataset), dataset, 20)
    assert len(drawn.step) == 20


def test_a_file_that_is_missing_damaged_or_of_other_data_is_refused(dataset, rollouts, tmp_path):
    path = stored(tmp_path, rollouts, dataset)
    other = replace(dataset, observation_origin=np.zeros(4))
    with pytest.raises(UserError, match=f"of 11 and 3 numbers, '{dataset.id}' of 4 and 3"):
        sample(path, other, 100)
    with path.open("r+b") as file:
        file.seek(2_000)
        file.write(b"\x00\x01\x02\x03")
    with pytest.raises(UserError, match=r"'transitions.npz' differs from its checksum"):
        sample(path, dataset, 100)
    assert path.exists()  # a page deletes nothing
    with pytest.raises(UserError, match="missing or unfinished"):
        sample(tmp_path / "none.npz", dataset, 100)
