"""Parts of the synthetic transitions joined in a file, in little memory."""

import tracemalloc
from types import SimpleNamespace

import numpy as np

from dawm_jax.types import Transition
from experiments.store import files, transitions

ACTIONS = ("action", "next_action")
DATASET = SimpleNamespace(in_units=lambda name, field: field * 3 if name in ACTIONS else field)


def part(rows, seed):
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(2, rows, 11)).astype(np.float32)
    discount = np.where(rng.random(rows) < 0.1, 0, 0.99).astype(np.float32)
    return Transition(
        observation=wide[0],
        action=wide[0, :, :3],
        reward=wide[1, :, 0],
        discount=discount,
        next_observation=wide[1],
        next_action=wide[1, :, 3:6],
        next_action_mask=discount > 0,
        recorded=discount < 0,
    )


def test_the_parts_are_joined_in_their_order(tmp_path):
    parts = [part(rows, seed) for seed, rows in enumerate((7, 1, 12))]
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    for path, each in zip(paths, parts, strict=True):
        transitions.write_part(path, each, DATASET)
    facts = transitions.join(paths, tmp_path / "transitions.npz")
    assert files.damage(tmp_path / "transitions.npz") is None
    with np.load(tmp_path / "transitions.npz", allow_pickle=False) as stored:
        for name in vars(parts[0]):
            whole = np.concatenate([getattr(each, name) for each in parts])
            expected = whole * 3 if name in ACTIONS else whole
            assert stored[name].dtype == whole.dtype
            np.testing.assert_array_equal(stored[name], expected)
        assert facts == {
            "transitions": 20,
            "terminal_share": np.mean(stored["discount"] == 0.0),
            "reward_mean": stored["reward"].mean(dtype=np.float64),
        }


def test_joining_takes_the_memory_of_a_part(tmp_path):
    paths = [tmp_path / f"{i:03}.npz" for i in range(40)]
    for seed, path in enumerate(paths):
        transitions.write_part(path, part(5_000, seed), DATASET)
    tracemalloc.start()
    try:
        transitions.join(paths, tmp_path / "transitions.npz")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 * paths[0].stat().st_size < (tmp_path / "transitions.npz").stat().st_size / 15
