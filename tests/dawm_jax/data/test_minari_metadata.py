"""Data sets whose metadata, packages or surroundings are not as expected."""

import json
import shutil
import sys

import gymnasium
import numpy as np
import pytest
from stored import buffer, episodes, write

from dawm_jax.data.formats.minari import load
from dawm_jax.errors import DatasetError


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def edit(root, name="walk-v0", **changes):
    """Changes the metadata of a data set of 14 steps in 4 episodes, and writes it if missing."""
    path = root / name / "data" / "metadata.json"
    if not path.exists():
        write(name, map(buffer, episodes()))
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path.parent


def spec(name="Hopper-v5", **changes):
    with gymnasium.make(name, **changes) as environment:
        return environment.spec.to_json()


@pytest.mark.parametrize("claimed", [3, 5, 10**9, "4", None, 4.5])
def test_a_wrong_number_of_episodes_is_refused_at_once(root, claimed):
    folder = edit(root, total_episodes=claimed).parent
    with pytest.raises(DatasetError, match=rf"contradicts itself: .* hold 4\..*{folder}"):
        load("walk-v0")


@pytest.mark.parametrize("cached", [False, True])
def test_a_wrong_number_of_steps_is_refused(root, cached):
    edit(root)
    if cached:
        load("walk-v0")
    edit(root, total_steps=13)
    with pytest.raises(DatasetError, match=r"its metadata name 13 steps, but its files hold 14"):
        load("walk-v0")


def test_a_damaged_copy_is_named_by_its_own_folder(root):
    edit(root)
    shutil.copytree(root / "walk-v0", root / "copy-v0")
    (root / "copy-v0" / "data" / "main_data.hdf5").write_text("nothing")
    with pytest.raises(DatasetError, match=rf"Remove its folder, {root}/copy-v0, then"):
        load("copy-v0")


def test_a_pointer_of_git_lfs_is_named(root):
    data = edit(root)
    (data / "main_data.hdf5").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1")
    with pytest.raises(DatasetError, match=r"main_data.hdf5 is a git-LFS pointer.* lfs pull"):
        load("walk-v0")


def test_a_missing_package_is_to_be_installed(root, monkeypatch):
    edit(root, data_format="arrow")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "minari.dataset._storages.arrow_storage", raising=False)
    with pytest.raises(DatasetError, match=r"pyarrow.*Install or upgrade what is missing"):
        load("walk-v0")


def test_a_newer_minari_is_to_be_installed(root):
    edit(root, minari_version="99.0.0")
    with pytest.raises(DatasetError, match=r"99.0.0.* pip install -U minari"):
        load("walk-v0")


def test_an_old_specification_of_an_environment_names_what_to_install(root):
    old = json.dumps(json.loads(spec()) | {"removed_field": True})
    edit(root, env_spec=old, requirements=["gymnasium==0.29.1"])
    with pytest.raises(DatasetError, match=r"cannot read its environment .*gymnasium==0.29.1"):
        load("walk-v0")


def test_folders_without_metadata_are_ignored(root):
    edit(root)
    (root / "downloads" / "data").mkdir(parents=True)
    (root / "half-v0" / "data").mkdir(parents=True)
    with pytest.raises(DatasetError, match="Similar local ids: walk-v0"):
        load("wlak-v0")


@pytest.mark.parametrize("wrong", [None, 7, b"walk-v0", "", "x" * 5000])
def test_what_cannot_be_an_id_is_refused_in_few_words(wrong):
    with pytest.raises(DatasetError, match="the id of a data set is") as caught:
        load(wrong)
    assert len(str(caught.value)) < 250


def test_an_id_without_a_version_is_answered_with_the_whole_one(root):
    edit(root)
    with pytest.raises(DatasetError, match=r"Similar local ids: walk-v0\. .* as in walk-v0"):
        load("walk")


def test_policies_are_scored_in_the_evaluation_environment(root):
    edit(root, env_spec=spec(), eval_env_spec=spec(max_episode_steps=50))
    dataset = load("walk-v0")
    assert dataset.environment.max_episode_steps == 1000
    assert dataset.evaluation_environment.max_episode_steps == 50
    edit(root, "plain-v0", env_spec=spec())
    plain = load("plain-v0")
    assert plain.evaluation_environment == plain.environment


def test_data_sets_of_different_environments_are_not_joined(root):
    edit(root, "one-v0", env_spec=spec())
    edit(root, "other-v0", env_spec=spec(terminate_when_unhealthy=False))
    with pytest.raises(DatasetError, match=r"different environments \(kwargs: .*unhealthy"):
        load("one-v0+other-v0")
    edit(root, "scored-v0", ref_min_score=0.0, ref_max_score=1.0)
    edit(root, "rescored-v0", ref_min_score=0.0, ref_max_score=2.0)
    with pytest.raises(DatasetError, match=r"reference scores \(\(0.0, 1.0\) and \(0.0, 2.0\)\)"):
        load("scored-v0+rescored-v0")
    edit(root, "unscored-v0")
    assert load("unscored-v0+scored-v0").reference_scores == (0.0, 1.0)


@pytest.fixture
def beyond(root):
    """A data set of 8 action entries, two of which are beyond [-1, 1]."""
    actions = np.array([[0.5, 0.3], [3.0, 0.3], [0.75, -2.0], [1.0 + 1e-7, 0.0]])
    write("wild-v0", [buffer((np.zeros((5, 3)), actions, np.zeros(4), False))])
    return actions


def test_actions_beyond_the_bounds_are_clipped_with_a_warning(beyond):
    with pytest.warns(UserWarning, match=r"^25.0% of the entries.* from -2 to 3: they are clipped"):
        dataset = load("wild-v0")
    stored = np.asarray(dataset.episodes.action)[:4]
    np.testing.assert_allclose(stored, np.clip(beyond, -1.0, 1.0), rtol=1e-6)


def test_actions_beyond_the_bounds_are_refused_if_so_set(beyond):
    with pytest.raises(DatasetError, match=r"25.0% .*set action_bounds to 'data'"):
        load("wild-v0", action_bounds="refuse")


def test_bounds_are_those_of_the_data_if_so_set(beyond):
    dataset = load("wild-v0", action_bounds="data")
    np.testing.assert_allclose(dataset.action_low, beyond.min(0), rtol=1e-6)
    np.testing.assert_allclose(dataset.action_high, beyond.max(0), rtol=1e-6)
    restored = dataset.unscale_action(np.asarray(dataset.episodes.action)[:4])
    np.testing.assert_allclose(restored, beyond, atol=1e-6)
