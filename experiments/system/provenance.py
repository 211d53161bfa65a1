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
    """The commit of the source tree, with '-dirty' for a changed one.

    None outside of git, and where the package lies in a repository that is not its own.

    Cached: a process runs the code of its start.
    """
    tree = Path(__file__).resolve().parents[2]

    def git(*command: str) -> str:
        every = ["git", "-C", str(tree), *command]
        return subprocess.run(every, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != tree:
            return None
        return git("describe", "--always", "--exclude=*", "--abbrev=40", "--dirty")
    except (OSError, subprocess.CalledProcessError):
        return None
