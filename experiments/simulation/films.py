"""Films of environments, rendered without a screen.

A `Camera` renders given states, the outcomes of given actions, or an episode of a policy into
frames, uint8 (N, height, width, 3); `encoded` and `write` make a film of them.
"""

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import gymnasium
import numpy as np

from dawm_jax.errors import UserError, require, require_choice
from experiments.simulation.environments import make, registered
from experiments.simulation.simulator import layout, set_to
from experiments.store.files import atomic
from experiments.system.opengl import backend, check_setting

SIZE = (320, 240)  # width and height of a frame of MuJoCo
SMOOTH = 30.0  # frames a second of an episode's film, or somewhat more
FORMATS = ("webp", "gif", "mp4")
FFMPEG = (
    "-loglevel error -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate} -i - "
    "-vf pad=ceil(iw/2)*2:ceil(ih/2)*2 -pix_fmt yuv420p -movflags frag_keyframe+empty_moov "
    "-f mp4 -"  # players expect even sizes and YUV 4:2:0; a pipe cannot go back to write an index
)

Act = Callable[[Any], Any]  # observation -> action, both of the environment


class Camera:
    """Renders one environment; used in a `with` block.

    Args:
        environment: a Gymnasium id or spec.

    Raises:
        UserError: films of the environment cannot be rendered here; says what to install.
    """

    def __init__(self, environment: Any, size: tuple[int, int] = SIZE):
        self.name, self.follows = getattr(environment, "id", environment), False
        self.viewer: Any = None
        settings: dict[str, Any] = {"render_mode": "rgb_array"}
        try:
            check_setting()
            spec = registered(environment) if isinstance(environment, str) else environment
            if _is_mujoco(spec):
                os.environ["MUJOCO_GL"] = backend()
                settings |= {"width": size[0], "height": size[1]}
            self.environment: Any = make(spec, **settings)
            self.environment.reset(seed=0)
            self._frame()
        except UserError as error:
            raise UserError(f"{self.name} cannot be filmed: {error}") from None
        except Exception as error:  # environments of other packages raise anything
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"{self.name} cannot be filmed: {what}") from error
        self._set_scene()

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *error: object) -> None:
        if self.viewer:
            # Otherwise freed when collected, in the context of whichever camera is current then.
            self.viewer.make_context_current()
            self.viewer.con.free()
        self.environment.close()

    @property
    def steps_per_second(self) -> float:
        """Of the environment, in its own time; at this rate frames of every step are a film."""
        return float(self.environment.metadata.get("render_fps") or SMOOTH)

    @property
    def every(self) -> int:
        """Steps from one frame of a smooth film to the next."""
        return max(1, int(self.steps_per_second / SMOOTH))

    def states(self, observations: np.ndarray) -> np.ndarray:
        """A frame of each state, given as observations (N, observation_dim) in the env's units.

        The root's position, which observations leave out, follows from its velocity.

        Raises:
            UserError: the environment cannot be set to observations.
        """
        root, frames = 0.0, []
        for state in np.asarray(observations, np.float64):
            velocity = self._set(state, root)
            frames.append(self._frame())
            root = root + self.environment.unwrapped.dt * velocity
        return np.stack(frames)

    def outcomes(self, observation: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Frames of a state and of what the simulator makes of N actions from there, N + 1.

        Both are in the environment's units. The film goes on where an episode would end.

        Raises:
            UserError: the environment cannot be set to observations.
        """
        self._set(np.asarray(observation, np.float64), 0.0)
        frames = [self._frame()]
        for action in np.asarray(actions):
            self.environment.unwrapped.step(action)
            frames.append(self._frame())
        return np.stack(frames)

    def episode(self, act: Act, seed: int, limit: int | None = None) -> tuple[np.ndarray, float]:
        """Frames of an episode from `seed`, one each `every` steps, and its return.

        Args:
            limit: steps after which the film ends.
        """
        environment = self.environment
        observation, _ = environment.reset(seed=seed)
        frames, total, steps, ended = [self._frame()], 0.0, 0, False
        while not ended and steps != limit:
            observation, reward, terminated, truncated, _ = environment.step(act(observation))
            total, steps, ended = total + float(reward), steps + 1, terminated or truncated
            if steps % self.every == 0 or ended:
                frames.append(self._frame())
        return np.stack(frames), total

    def _set(self, state: np.ndarray, root: Any) -> np.ndarray:
        """Sets the environment to a state and the root's position; returns the root's velocity."""
        environment = self.environment.unwrapped
        found = layout(environment)
        if found is None:
            raise UserError(f"{self.name} cannot be set to observations: its states have no film")
        positions, velocities = found
        missing = environment.model.nq - positions
        set_to(environment, state, positions, velocities, np.broadcast_to(root, missing))
        return state[positions : positions + missing]

    def _frame(self) -> np.ndarray:
        if self.viewer:
            self.viewer.make_context_current()  # or another camera, even a closed one, has it
        if self.follows:  # gymnasium 1.4 does not
            self.viewer.cam.lookat[:2] = self.environment.unwrapped.data.subtree_com[1, :2]
        return np.array(self.environment.render())

    def _set_scene(self) -> None:
        """Without shadows and reflections, four fifths of the time on a CPU; following the robot.

        A robot moves about where observations leave out the root's position.
        """
        environment = self.environment.unwrapped
        self.viewer = getattr(getattr(environment, "mujoco_renderer", None), "viewer", None)
        if self.viewer:
            import mujoco

            self.viewer.scn.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self.viewer.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
            found = layout(environment)
            self.follows = found is not None and found[0] < environment.model.nq


def obstacle(environment: Any) -> str | None:
    """Why films of an environment, an id or a spec, cannot be rendered here; None if they can."""
    try:
        with Camera(environment, (16, 16)):
            return None
    except UserError as error:
        return str(error)


def check_format(path: Path) -> str:
    """The format of a film by its file's name: webp, gif or mp4.

    Raises:
        UserError: it is another one, or ffmpeg is missing.
    """
    name = path.suffix.removeprefix(".").lower()
    require_choice("format of a film", name, FORMATS)
    require(
        name != "mp4" or _ffmpeg() is not None,
        "films in MP4 are written by ffmpeg: install it (pip install imageio-ffmpeg), or name the "
        f"film {path.with_suffix('.webp').name}",
    )
    return name


def encoded(frames: np.ndarray, rate: float, kind: str = "webp") -> bytes:
    """A film of frames (N, height, width, 3) uint8 at `rate` frames a second."""
    if kind == "mp4":
        height, width = frames.shape[1:3]
        settings = FFMPEG.format(width=width, height=height, rate=rate).split()
        command = [_ffmpeg() or "ffmpeg", *settings]
        return subprocess.run(command, input=frames.tobytes(), stdout=PIPE, check=True).stdout
    from PIL import Image

    file = io.BytesIO()
    first, *rest = [Image.fromarray(frame) for frame in frames]
    pause = round(1000.0 / rate)  # in milliseconds
    first.save(file, kind, save_all=True, append_images=rest, duration=pause, loop=0)
    return file.getvalue()


def _ffmpeg() -> str | None:
    """The machine's ffmpeg, or that of imageio-ffmpeg."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        return shutil.which("ffmpeg")
    return shutil.which("ffmpeg") or get_ffmpeg_exe()


def write(path: Path, frames: np.ndarray, rate: float) -> None:
    """Writes a film, all of it or nothing; see `check_format` and `encoded`."""
    film = encoded(frames, rate, check_format(path))
    with atomic(path) as partial:
        partial.write_bytes(film)


def _is_mujoco(spec: Any) -> bool:
    from gymnasium.envs.mujoco import MujocoEnv  # after `check_setting`

    entry = spec.entry_point
    kind = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    return isinstance(kind, type) and issubclass(kind, MujocoEnv)
