"""The versions, the commit and the machine of a run."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from dawm_jax import __version__

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "minari",
    "gymnasium",
    "mujoco",
)


def versions() -> dict[str, Any]:
    """Packages, commit and machine class."""
    device = jax.devices()[0]
    return {
        "dawm_jax": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": f"{jax.device_count()} x {device.device_kind}",
        "cpu_cores": os.cpu_count(),
    }


@cache
def commit() -> str | None:
    """The commit of the source tree, with '-dirty' for a changed one; None outside of git.

    Cached: a process runs the code of its start.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    describe = [*git, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
