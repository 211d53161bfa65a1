"""Which OpenGL MuJoCo can render with on this machine, with a screen or without."""

import functools
import os
import subprocess
import sys

from dawm_jax.errors import UserError

BACKENDS = ("egl", "osmesa", "glfw")  # the last needs a screen
PROBE = """
import mujoco
context = mujoco.GLContext(8, 8)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
"""
MISSING = (
    "MuJoCo finds no OpenGL to render with: install libegl1 and libegl-mesa0 (MUJOCO_GL=egl), or "
    "libosmesa6 (MUJOCO_GL=osmesa)"
)


def check_setting() -> None:
    """Raises UserError if MUJOCO_GL is set and does not work: MuJoCo cannot even be imported."""
    if os.environ.get("MUJOCO_GL"):
        backend()


@functools.cache
def backend() -> str:
    """The value of MUJOCO_GL that works; the user's own is kept.

    Each is tried in a process of its own: one that does not work can end its process.

    Raises:
        UserError: none works.
    """
    given = os.environ.get("MUJOCO_GL")
    for name in (given,) if given else BACKENDS:
        settings = os.environ | {"MUJOCO_GL": name}
        command = [sys.executable, "-c", PROBE]
        if subprocess.run(command, env=settings, capture_output=True, check=False).returncode == 0:
            return name
    raise UserError(f"{MISSING}{f'; MUJOCO_GL={given} does not work' if given else ''}")
