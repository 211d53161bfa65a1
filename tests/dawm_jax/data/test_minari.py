"""Data sets as Minari stores them, including broken ones."""

import itertools

import chex
import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from handmade import make_dataset
from stored import STATES, buffer, episodes, write

from dawm_jax.data.columns import FIELDS
from dawm_jax.data.dataset import return_to_go
from dawm_jax.data.formats.minari import load
from dawm_jax.data.formats.minari_files import open_data_set, read_episodes
from dawm_jax.errors import DatasetError, UserError


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def check_same(dataset, expected):
    chex.assert_trees_all_close(dataset.episodes, expected.episodes, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal_dtypes(dataset.episodes, expected.episodes)
    for name in ("lengths", "returns", "terminated"):
        np.testing.assert_allclose(getattr(dataset, name), getattr(expected, name), rtol=1e-5)


def test_episodes_become_rows():
    write("walk-v0", map(buffer, episodes()))
    check_same(load("walk-v0", discount=0.9), make_dataset(episodes(), discount=0.9))


def test_joined_data_sets_follow_one_another():
    write("poor-v0", map(buffer, episodes(0)))
    write("good-v0", map(buffer, episodes(1)))
    dataset = load("poor-v0+good-v0", discount=0.9)
    check_same(dataset, make_dataset(episodes(0) + episodes(1), discount=0.9))
    assert dataset.id == "poor-v0+good-v0"


@pytest.mark.parametrize(
    ("which", "share", "expected"),
    [("first", 0.5, [0, 1]), ("best", 0.25, [2]), ("best", 0.5, [2, 3]), ("first", 0.01, [0])],
)
def test_a_share_of_the_episodes_is_kept(which, share, expected):
    returns = [1.0, -5.0, 9.0, 3.0]
    recorded = [
        (o, a, np.full(len(r), total / len(r)), end)
        for (o, a, r, end), total in zip(episodes(), returns, strict=True)
    ]
    write("walk-v0", map(buffer, recorded))
    kept = load("walk-v0", discount=0.9, episodes=which, share=share)
    check_same(kept, make_dataset([recorded[i] for i in expected], discount=0.9))


def test_random_episodes_are_the_same_every_time():
    write("walk-v0", map(buffer, episodes(ends=[(n, False) for n in range(1, 41)])))
    lengths = [load("walk-v0", episodes="random", share=0.5).lengths.tolist() for _ in range(2)]
    assert lengths[0] == lengths[1] == sorted(lengths[0])
    assert len(set(lengths[0])) == 20
    assert lengths[0] != list(range(1, 21))


def test_a_terminal_state_at_the_time_limit_is_terminal():
    episode = episodes(ends=[(4, True)])[0]
    write("walk-v0", [buffer(episode, truncations=np.arange(4) == 3)])
    assert load("walk-v0").terminated.tolist() == [True]


def test_return_to_go_is_the_discounted_sum_to_the_end():
    to_go = return_to_go(np.array([1.0, 2.0, 4.0, 8.0]), np.array([3, 1]), 0.5)
    np.testing.assert_allclose(to_go, [3.0, 4.0, 4.0, 8.0])


@pytest.mark.parametrize(
    ("low", "high", "expected_low", "expected_high"),
    [
        pytest.param([-2.0, -2.0], [2.0, 2.0], [-2.0, -2.0], [2.0, 2.0], id="wider"),
        pytest.param([-0.8, -1.0], [3.0, 0.9], [-0.8, -1.0], [3.0, 0.9], id="asymmetric"),
        pytest.param([-np.inf] * 2, [np.inf] * 2, [-0.5, 0.3], [0.75, 0.3 + 1.0], id="infinite"),
        pytest.param([-2.0, 0.0], [np.inf, 1.0], [-0.5, 0.0], [0.75, 1.0], id="half-infinite"),
        pytest.param([-2.0, 0.3], [2.0, 0.3], [-2.0, 0.3], [2.0, 0.3 + 1.0], id="equal"),
        pytest.param([-3e38] * 2, [3e38] * 2, [-0.5, 0.3], [0.75, 0.3 + 1.0], id="too-wide"),
    ],
)
def test_actions_are_scaled_by_their_bounds(low, high, expected_low, expected_high):
    """The second action never changes; its range, where needed, is one wide."""
    actions = np.array([[-0.5, 0.3], [0.25, 0.3], [0.75, 0.3]])
    episode = (np.zeros((4, 3)), actions, np.zeros(3), False)
    space = Box(np.float32(low), np.float32(high))
    write("walk-v0", [buffer(episode)], action_space=space)
    dataset = load("walk-v0")
    np.testing.assert_allclose(dataset.action_low, expected_low)
    np.testing.assert_allclose(dataset.action_high, expected_high)
    middle = np.add(expected_high, expected_low) / 2
    half = np.subtract(expected_high, expected_low) / 2
    scaled = np.asarray(dataset.episodes.action[:3])
    np.testing.assert_allclose(scaled, (actions - middle) / half, atol=1e-6)
    assert np.abs(scaled).max() <= 1.0 + 1e-6
    np.testing.assert_allclose(dataset.unscale_action(scaled), actions, atol=1e-6)


def test_boxes_of_more_dimensions_are_flattened():
    rng = np.random.default_rng(0)
    observations, actions = rng.normal(size=(5, 2, 3)), rng.uniform(-1, 1, size=(4, 2, 2))
    episode = (observations, actions, np.zeros(4), False)
    states, box = Box(-np.inf, np.inf, (2, 3)), Box(-1.0, 1.0, (2, 2))
    write("grid-v0", [buffer(episode)], observation_space=states, action_space=box)
    rows = load("grid-v0").episodes
    np.testing.assert_allclose(rows.observation, observations.reshape(5, 6), rtol=1e-6)
    np.testing.assert_allclose(rows.action[:4], actions.reshape(4, 4), rtol=1e-5)


@pytest.mark.parametrize(
    ("env", "reward", "given", "scale"),
    [
        (None, [-1.0, -2.0, 0.0], None, 1.0 + 0.5 * 2.0),
        (None, [0.0, 0.0, 0.0], None, 1.0),
        (None, [1e-40, 0.0, 0.0], None, 1.0),
        (None, [1.0, 2.0, 0.0], 7.0, 7.0),
        ("Pendulum-v1", [1.0, 2.0, 0.0], None, 1.0 + 0.5 * 2.0),
        ("Hopper-v5", [1.0, 2.0, 0.0], None, 400.0),
        ("Hopper-v5", [1.0, 2.0, 0.0], 7.0, 7.0),
    ],
)
def test_return_scale_is_given_or_from_the_robot_or_from_the_data(env, reward, given, scale):
    episode = (np.zeros((4, 3)), np.zeros((3, 2)), np.array(reward), False)
    write("walk-v0", [buffer(episode)], env=env)
    assert load("walk-v0", discount=0.5, return_scale=given).return_scale == scale


@pytest.mark.parametrize(
    ("low", "high"), [(-np.inf, np.inf), (-1e300, 1e300), (1e8, 1e8), (0.1, 0.1 + 1e-12)]
)
def test_an_action_that_never_changes_is_scaled_to_finite_numbers(low, high):
    """Where float32 numbers are more than 1 apart, and where both bounds are equal."""
    episode = (np.zeros((4, 3)), np.full((3, 2), 1e8), np.zeros(3), False)
    write("walk-v0", [buffer(episode)], action_space=Box(low, high, (2,), np.float64))
    dataset = load("walk-v0")
    scaled = np.asarray(dataset.episodes.action[:3])
    assert (dataset.action_low < dataset.action_high).all()
    assert (np.abs(scaled) <= 1.0).all()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("discount", value) for value in (0.0, -0.1, 1.1, np.nan)),
        *(("return_scale", value) for value in (0.0, -1.0, np.nan, np.inf)),
    ],
)
def test_arguments_are_checked_before_files(argument, value):
    with pytest.raises(UserError, match=f"^{argument} is .*; it must be a number "):
        load("nothing-v0", **{argument: value})


REFERENCES = {"ref_min_score": -5.0, "ref_max_score": 50.0}


@pytest.mark.parametrize(
    ("env", "metadata", "expected"),
    [
        (None, {}, None),
        (None, REFERENCES, (-5.0, 50.0)),
        ("Pendulum-v1", {}, None),
        ("Hopper-v5", {}, (-20.272305, 3234.3)),
        ("Hopper-v5", REFERENCES, (-5.0, 50.0)),
    ],
)
def test_reference_scores_are_recorded_or_from_the_robot(env, metadata, expected):
    write("walk-v0", map(buffer, episodes()), env=env, **metadata)
    dataset = load("walk-v0")
    assert dataset.reference_scores == expected
    assert dataset.environment == (env and gymnasium.spec(env))


@pytest.mark.parametrize("scores", [(50.0, 50.0), (50.0, -5.0), (float("nan"), 5.0)])
def test_reference_scores_that_do_not_ascend_are_rejected(scores):
    metadata = dict(zip(("ref_min_score", "ref_max_score"), scores, strict=True))
    write("walk-v0", map(buffer, episodes()), **metadata)
    with pytest.raises(DatasetError, match=r"reference scores are .* correct ref_min_score"):
        load("walk-v0")


def spoiled(**change):
    """Two episodes; the fields of `change` replace those of the second."""
    first, second = episodes(ends=[(5, False), (4, False)])
    return [buffer(first), buffer(second, **change)]


def bad_at(shape, index, value=np.nan):
    array = np.zeros(shape)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"observations": bad_at((5, 3), (2, 1))},
            "non-finite .* observations at step 2",
        ),
        ({"actions": bad_at((4, 2), (3, 0), np.inf)}, "non-finite .* actions at step 3"),
        ({"rewards": bad_at(4, 1)}, "non-finite .* rewards at step 1"),
        ({"rewards": bad_at(4, 2, -1e16)}, r"a value beyond 1e\+15 in rewards at step 2: rescale"),
        (
            {"observations": bad_at((5, 3), (4, 0), 1e300)},
            r"a value beyond 1e\+15 in observations at step 4: rescale",
        ),
        ({"rewards": np.array([b"a"] * 4)}, r"rewards of type \|S1, expected numbers"),
        ({"observations": np.zeros((4, 3))}, r"observations of shape \(4, 3\), expected \(5, 3\)"),
        ({"observations": np.zeros((5, 7))}, r"observations of shape \(5, 7\), expected \(5, 3\)"),
        ({"actions": np.zeros((5, 2))}, r"actions of shape \(5, 2\), expected \(4, 2\)"),
        ({"terminations": np.zeros(3, bool)}, r"terminations of shape \(3,\), expected \(4,\)"),
        (
            {"terminations": np.arange(4) == 1},
            "continues after step 1, which is terminated or truncated",
        ),
        (
            {"truncations": np.arange(4) == 2},
            "continues after step 2, which is terminated or truncated",
        ),
    ],
)
def test_an_invalid_episode_is_rejected_with_its_number(change, message):
    write("broken-v0", spoiled(**change))
    with pytest.raises(DatasetError, match=f"^episode 1 of 'broken-v0' .*{message}"):
        load("broken-v0")


def test_a_repaired_episode_is_loaded_immediately(root):
    write("broken-v0", spoiled(rewards=bad_at(4, 1)))
    with pytest.raises(DatasetError) as refused:
        load("broken-v0")
    with h5py.File(root / "broken-v0" / "data" / "main_data.hdf5", "a") as file:
        file["episode_1"]["rewards"][1] = 0.0
    assert load("broken-v0").transitions == 9
    assert "step 1" in str(refused.value)


def test_episodes_are_read_as_minari_reads_them():
    """Including infos and types that differ between episodes."""
    a, b, c, d = episodes()
    write(
        "walk-v0",
        [
            buffer(a, infos={"position": np.zeros((5, 2))}),
            buffer(b, rewards=np.array([7])),
            buffer(c, observations=c[0].astype(np.float16), terminations=np.zeros(6)),
            buffer(d, actions=np.zeros((3, 2), np.uint8)),
        ],
    )
    part = open_data_set("walk-v0", download=False)
    for read, expected in zip(read_episodes(part), part.iterate_episodes(), strict=True):
        for field in FIELDS:
            np.testing.assert_array_equal(read[field], getattr(expected, field), strict=True)


def test_an_episode_without_steps_is_rejected(root):
    write("broken-v0", map(buffer, episodes(ends=[(5, False), (4, False)])))
    with h5py.File(root / "broken-v0" / "data" / "main_data.hdf5", "a") as file:
        for field in ("actions", "rewards", "terminations", "truncations"):
            file["episode_1"][field].resize(0, axis=0)
        file["episode_1"]["observations"].resize(1, axis=0)
    with pytest.raises(DatasetError, match="episode 1 of 'broken-v0' has no steps"):
        load("broken-v0")


def test_a_data_set_without_episodes_is_rejected():
    write("empty-v0", [])
    with pytest.raises(DatasetError, match="'empty-v0' has no episodes"):
        load("empty-v0")


@pytest.mark.parametrize(
    ("role", "space", "values"),
    [
        ("action", Discrete(4), {"actions": np.zeros(5, int)}),
        ("observation", Discrete(4), {"observations": np.zeros(6, int)}),
        ("observation", Box(0, 255, (3,), np.uint8), {"observations": np.zeros((6, 3), np.uint8)}),
        ("action", MultiBinary(2), {"actions": np.zeros((5, 2), np.int8)}),
        (
            "observation",
            Dict(state=STATES, gripper=Discrete(2)),
            {"observations": {"state": np.zeros((6, 3)), "gripper": np.zeros(6, int)}},
        ),
    ],
)
def test_spaces_other_than_boxes_of_floats_are_rejected(role, space, values):
    episode = buffer(episodes(ends=[(5, False)])[0], **values)
    write("odd-v0", [episode], **{f"{role}_space": space})
    kind = type(space).__name__
    message = f"'odd-v0' has {role} space .*{kind}.* only Box .* Dicts and Tuples .* no pixels"
    if kind == "Dict":
        message = f"'odd-v0' has {role} space Discrete.2., at gripper: only Box"
    with pytest.raises(DatasetError, match=message):
        load("odd-v0")


@pytest.mark.parametrize(
    "spaces",
    [{"action_space": Box(-2.0, 2.0, (2,))}, {"observation_space": Box(-np.inf, np.inf, (4,))}],
)
def test_only_data_sets_of_equal_spaces_are_joined(spaces):
    write("one-v0", map(buffer, episodes()))
    write("other-v0", [], **spaces)
    with pytest.raises(
        DatasetError, match=r"'other-v0' has .* Combine only data sets of one robot"
    ):
        load("one-v0+other-v0")


@pytest.mark.parametrize("role", ["action", "observation"])
def test_a_space_without_numbers_is_rejected(role):
    rows = {"action": np.zeros((5, 0), np.float32), "observation": np.zeros((6, 0))}
    episode = buffer(episodes(ends=[(5, False)])[0], **{f"{role}s": rows[role]})
    write("odd-v0", [episode], **{f"{role}_space": Box(-1.0, 1.0, (0,))})
    with pytest.raises(DatasetError, match=f"'odd-v0' has {role} space .* contains no numbers"):
        load("odd-v0")


@pytest.mark.parametrize("unknown", ["wlak-v0", "wlak", "two words-v0"])
@pytest.mark.parametrize("joined", ["{}", "walk-v0+{}"])
def test_an_unknown_id_is_rejected_with_similar_ids(unknown, joined):
    write("walk-v0", map(buffer, episodes()))
    with pytest.raises(
        DatasetError, match=rf"No data set '{unknown}' .* Similar local ids: walk-v0"
    ):
        load(joined.format(unknown))


def test_a_failed_download_gives_the_reason(monkeypatch):
    def download_dataset(dataset_id):
        raise ConnectionError("no route")

    monkeypatch.setattr("minari.download_dataset", download_dataset)
    with pytest.raises(DatasetError, match=r"'far-v0' on this machine, and the download.*no route"):
        load("far-v0", download=True)
    with pytest.raises(DatasetError, match="local/ cannot be downloaded: record it"):
        load("local/far-v0", download=True)
    with pytest.raises(DatasetError, match="Allow the download"):
        load("far-v0")


def test_a_malformed_id_is_not_downloaded(monkeypatch):
    def download(dataset_id):
        raise AssertionError("asked the server")

    monkeypatch.setattr("minari.storage.hosting.download_dataset", download)
    for unknown in ("walk", "two words-v0"):
        with pytest.raises(DatasetError, match="An id is a name and a version"):
            load(unknown, download=True)


def test_an_unusable_folder_of_data_sets_is_named(root, monkeypatch):
    (root / "file").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "file"))
    with pytest.raises(DatasetError, match="Change MINARI_DATASETS_PATH"):
        load("walk-v0")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    path.write_text("neither HDF5 nor JSON")


def remove(path):
    path.unlink()


def lose_rewards(path):
    with h5py.File(path, "a") as file:
        del file["episode_1"]["rewards"]


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        *itertools.product([cut, overwrite, remove], ["main_data.hdf5", "metadata.json"]),
        (lose_rewards, "main_data.hdf5"),
    ],
)
def test_a_damaged_file_is_rejected(root, damage, file):
    write("torn-v0", map(buffer, episodes()))
    damage(root / "torn-v0" / "data" / file)
    with pytest.raises(
        DatasetError, match=r"'torn-v0' cannot be read: .* Remove its folder, /.*torn-v0, then"
    ):
        load("torn-v0")
