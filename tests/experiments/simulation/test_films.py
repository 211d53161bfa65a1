"""Cameras and films."""

import gc
import os
import sys

import gymnasium
import numpy as np
import pytest
from PIL import Image

from dawm_jax.errors import UserError
from experiments.simulation import films
from experiments.simulation.films import Camera, check_format, encoded, obstacle, write
from experiments.system import opengl

SMALL = (96, 72)


@pytest.fixture(scope="module")
def camera():
    """A camera of Hopper, where OpenGL is installed."""
    reason = obstacle("Hopper-v5")
    if reason:
        pytest.skip(reason)
    with Camera("Hopper-v5", SMALL) as camera:
        yield camera


def walk(steps, seed=0):
    """Observations (N + 1, 11) and actions (N, 3) of a recorded random walk."""
    environment = gymnasium.make("Hopper-v5").unwrapped
    observation, _ = environment.reset(seed=seed)
    observations, rng = [observation], np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (steps, 3)).astype(np.float32)
    for action in actions:
        observations.append(environment.step(action)[0])
    return np.stack(observations), actions


def test_recorded_states_look_like_the_outcomes_of_their_actions(camera):
    observations, actions = walk(12)
    states = camera.states(observations)
    outcomes = camera.outcomes(observations[0], actions)
    assert states.shape == outcomes.shape == (13, 72, 96, 3)
    assert states.dtype == outcomes.dtype == np.uint8
    apart = np.abs(states.astype(float) - outcomes).mean((1, 2, 3))
    moved = np.abs(states[0].astype(float) - states).mean((1, 2, 3))
    assert apart.max() < 0.2 * moved[-1]
    wrong = camera.outcomes(observations[0], -actions)
    assert np.abs(states[-1].astype(float) - wrong[-1]).mean() > 3 * apart[-1]


def test_an_episode_is_that_of_the_environment(camera):
    def act(observation):
        return 0.5 * np.sin(observation[:3])

    environment = gymnasium.make("Hopper-v5")
    observation, _ = environment.reset(seed=5)
    total, steps, ended = 0.0, 0, False
    while not ended:
        observation, reward, terminated, truncated, _ = environment.step(act(observation))
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    frames, found = camera.episode(act, seed=5)
    assert found == pytest.approx(total)
    assert (camera.steps_per_second, camera.every) == (125.0, 4)
    assert len(frames) == 1 + -(-steps // 4)
    assert len(camera.episode(act, seed=5, limit=8)[0]) == 3


def test_the_camera_follows_a_robot_that_moves_away(camera):
    observations, _ = walk(1)
    fast = np.repeat(observations[:1], 2, axis=0)
    fast[:, 5] = 10_000.0  # metres a second: far from the first frame in one step
    first, second = camera.states(fast)
    robot = np.s_[25:60, 40:56]  # in the middle; it is brown, and the floor is grey
    first, second = (np.mean(np.ptp(f[robot].astype(int), axis=-1) > 40) for f in (first, second))
    assert first > 0.02
    assert second > 0.5 * first


def test_cameras_do_not_disturb_one_another(camera):
    observations, _ = walk(1)
    before = camera.states(observations)
    with Camera("Ant-v5", SMALL) as other:
        first = other.episode(lambda _: np.zeros(8), 0, limit=1)[0]
        np.testing.assert_array_equal(camera.states(observations), before)
        again = other.episode(lambda _: np.zeros(8), 0, limit=1)[0]
        np.testing.assert_array_equal(again, first)
    with Camera("Hopper-v5", SMALL) as later:
        np.testing.assert_array_equal(later.states(observations), before)
        del other  # closed above; what it leaves to be collected is not of this context
        gc.collect()
        np.testing.assert_array_equal(later.states(observations), before)
    np.testing.assert_array_equal(camera.states(observations), before)
    assert before.mean() > 20


def test_an_environment_without_known_positions_is_filmed_in_episodes_alone(camera):
    with Camera("Hopper-v4", SMALL) as older:
        assert len(older.episode(lambda _: np.zeros(3), 0, limit=4)[0]) == 2
        with pytest.raises(UserError, match="Hopper-v4 cannot be set to observations"):
            older.states(np.zeros((1, 11)))


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ("Nothing-v0", "NameNotFound"),
        (gymnasium.spec("FrozenLake-v1"), ""),
    ],
)
def test_what_cannot_be_filmed_has_a_reason(environment, reason, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    found = obstacle(environment)
    assert "cannot be filmed" in found
    assert reason in found


def moving_square(count=5, height=16, width=24):
    frames = np.zeros((count, height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[4:12, 3 * i : 3 * i + 8] = (250, 200, 20)
    return frames


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_films_hold_their_frames(kind, tmp_path):
    frames, path = moving_square(), tmp_path / f"film.{kind}"
    write(path, frames, rate=20.0)
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (5, (24, 16))
        for index, frame in enumerate(frames):
            film.seek(index)
            shown = np.asarray(film.convert("RGB"), float)
            assert np.abs(shown - frame).mean() < 12
            assert film.info.get("duration", 50) in (0, 50)


def test_a_film_in_mp4_needs_ffmpeg(tmp_path, monkeypatch):
    if films._ffmpeg():
        head = encoded(moving_square(height=15, width=23), 20.0, "mp4")[:12]
        assert head[4:8] == b"ftyp"
    monkeypatch.setattr(films, "_ffmpeg", lambda: None)
    with pytest.raises(UserError, match=r"install it \(pip install .*, or name the film film.webp"):
        write(tmp_path / "film.mp4", moving_square(), 20.0)
    with pytest.raises(UserError, match=r"unknown format of a film 'avi': .* gif, mp4, webp"):
        check_format(tmp_path / "film.avi")
    assert not list(tmp_path.iterdir())


def test_without_opengl_there_is_a_reason(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(opengl, "PROBE", "import no_such_opengl")
    opengl.backend.cache_clear()
    try:
        reason = obstacle("Hopper-v5")
    finally:
        opengl.backend.cache_clear()
    assert "Hopper-v5 cannot be filmed: MuJoCo finds no OpenGL to render with" in reason
    assert "install libegl1 and libegl-mesa0" in reason
    assert "MUJOCO_GL=osmesa does not work" in reason
    assert os.environ["MUJOCO_GL"] == "osmesa"
