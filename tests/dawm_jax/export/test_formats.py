"""Every format, read back with code that shares nothing with its writer."""

import json

import h5py
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box

import dawm_jax as dawm
from dawm_jax.data.formats import d4rl as d4rl_reader
from dawm_jax.export import d3rlpy, d4rl, npz, rows
from dawm_jax.export.card import card
from dawm_jax.export.minari import write
from dawm_jax.export.rows import EpisodeRows

LENGTHS, ENDS = (4, 1, 6, 3), (True, True, False, True)


def episodes():
    """Episodes of noise: observations of three numbers, actions of two."""
    rng = np.random.default_rng(0)
    found = []
    for steps, terminated in zip(LENGTHS, ENDS, strict=True):
        last = np.arange(steps) == steps - 1
        found.append(
            {
                "observations": rng.standard_normal((steps + 1, 3)).astype(np.float32),
                "actions": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
                "rewards": rng.standard_normal(steps).astype(np.float32),
                "terminations": last & terminated,
                "truncations": last & (not terminated),
            }
        )
    return found


def flat(name, shift=0):
    """A field of all steps; observations after the step with `shift` 1."""
    parts = [episode[name] for episode in episodes()]
    if name == "observations":
        parts = [part[1:] if shift else part[:-1] for part in parts]
    return np.concatenate(parts)


@pytest.fixture
def stored(tmp_path):
    """The episodes as rows, written in pieces and out of order."""
    kind = rows.row_type(flat("observations"), flat("actions"))
    every = np.zeros(sum(LENGTHS), kind)
    every["observation"], every["action"] = flat("observations"), flat("actions")
    every["next_observation"], every["reward"] = flat("observations", 1), flat("rewards")
    every["terminal"] = flat("terminations")
    every["last"] = flat("terminations") | flat("truncations")
    path = tmp_path / "episodes.npy"
    order = np.random.default_rng(1).permutation(len(every))
    with path.open("w+b") as file:
        offset = rows.begin(file, kind, len(every))
        for some in np.array_split(order, 3):
            rows.put(file, offset, every[some], some)
    np.testing.assert_array_equal(np.load(path), every)  # numpy's own reader
    return EpisodeRows.of(path)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_episodes_are_whole_whatever_the_blocks(stored, size):
    for one, other in zip(stored.episodes(size), episodes(), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_npz_has_the_five_flat_arrays(stored, tmp_path):
    npz.write(tmp_path / "x.npz", stored)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert set(found.files) == {
            *("observations", "actions", "rewards", "next_observations", "terminals")
        }
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(found[name], flat(name))
            assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found["next_observations"], flat("observations", 1))
        np.testing.assert_array_equal(found["terminals"], flat("terminations"))
        assert found["terminals"].dtype == np.float32  # as SynthER's


def test_d4rl_keeps_the_observation_after_the_last_step(stored, tmp_path):
    """And tells ends of the task from timeouts."""
    d4rl.write(tmp_path / "x.hdf5", stored, "about")
    with h5py.File(tmp_path / "x.hdf5") as found:
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(found[name], flat(name))
        np.testing.assert_array_equal(found["next_observations"], flat("observations", 1))
        np.testing.assert_array_equal(found["terminals"], flat("terminations"))
        np.testing.assert_array_equal(found["timeouts"], flat("truncations"))
        assert found["terminals"].dtype == found["timeouts"].dtype == bool
        assert found["metadata/synthetic"].asstr()[()] == "about"
    again = d4rl_reader.episodes(d4rl_reader.read(tmp_path / "x.hdf5"))
    for one, other in zip(again, episodes(), strict=True):
        for name in other:
            np.testing.assert_array_equal(one[name], other[name])


def test_d3rlpy_has_arrays_of_each_episode(stored, tmp_path):
    """As d3rlpy's reader takes them: by names in `columns` and numbers below `num_episodes`."""
    d3rlpy.write(tmp_path / "x.h5", stored, "about")
    with h5py.File(tmp_path / "x.h5") as found:
        assert found["version"].asstr()[()] == "2.1"
        assert found["num_episodes"][()] == 4
        columns = [name.decode() for name in found["columns"][()]]
        assert columns == ["observations", "actions", "rewards", "terminated"]
        for number, episode in enumerate(episodes()):
            one = {name: found[f"{name}_{number}"][()] for name in columns}
            np.testing.assert_array_equal(one["observations"], episode["observations"][:-1])
            np.testing.assert_array_equal(one["actions"], episode["actions"])
            np.testing.assert_array_equal(one["rewards"], episode["rewards"][:, None])
            assert bool(one["terminated"]) is ENDS[number]


def test_minari_reads_its_format_and_so_does_this_package(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    spaces = Box(-np.inf, np.inf, (3,), np.float32), Box(-1.0, 1.0, (2,), np.float32)
    scores, about = (-1.0, 2.0), {"source": "dawm"}
    write(
        "dawm/toy-v0", stored.episodes(3), spaces=spaces, reference_scores=scores, synthetic=about
    )
    found = minari.load_dataset("dawm/toy-v0")
    assert (found.total_episodes, found.total_steps) == (4, 14)
    assert found.storage.metadata["synthetic"] == about
    for one, other in zip(found.iterate_episodes(), episodes(), strict=True):
        for name in other:
            np.testing.assert_array_equal(getattr(one, name), other[name])
    dataset = dawm.load("dawm/toy-v0")
    assert dataset.synthetic == ("dawm/toy-v0",)
    assert dataset.reference_scores == scores
    transitions = dawm.to_transitions(dataset)
    np.testing.assert_array_equal(transitions.next_observation, flat("observations", 1))
    np.testing.assert_array_equal(transitions.discount == 0.0, flat("terminations"))
    write("dawm/other-v0", episodes(), spaces=spaces)
    assert dawm.load("dawm/other-v0+dawm/toy-v0").synthetic == ("dawm/toy-v0",)


def test_a_card_says_what_the_data_are():
    about = dict.fromkeys(
        ("transitions", "episodes", "episode_steps", "predicted_ends", "return_mean"), 1234
    )
    about |= {"length_mean": 9.0, "source": "dawm", "generator": "dawm-jax 0", "recorded": "a-v0"}
    about |= {"environment": None, "run": "here", "commit": "abc", "reference_scores": (0.0, 1.5)}
    about |= {"settings": {"model": {"width": 8}, "seed": 1}, "fidelity": None}
    text = card("dawm/toy-v0", json.loads(json.dumps(about)), "not measured")
    lines = ("# dawm/toy-v0", "- synthetic", "model.width: 8", "not measured")
    assert set(lines) <= set(text.splitlines())
    assert "| returns that score 0 and 100 | 0, 1.5 |" in text
    assert "**Synthetic data**: 1,234 transitions" in text
