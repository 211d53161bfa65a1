"""The peers' environment: they need other versions than this project."""

import json
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

import jax

from dawm_jax.errors import UserError, require
from experiments.benchmark.scope import Peers
from experiments.system.machine import check_writable

PINS = ("torch==2.13.0", "d3rlpy==2.8.1")
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
LIST = (
    "import json; from importlib.metadata import distributions; "
    "print(json.dumps({d.name: d.version for d in distributions()}))"
)
ADVICE = "make it with python -m experiments.benchmark --setup-peers"


def default_folder() -> Path:
    """In the user's folder of caches."""
    home = Path.home()
    caches = home / ("Library/Caches" if platform.system() == "Darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or caches) / "dawm_jax" / "peers"


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def find(folder: Path) -> Peers:
    """The environment in that folder.

    Raises:
        UserError: there is none with PyTorch. d3rlpy may be missing, and is then not measured.
    """
    python = python_of(folder)
    require(python.exists(), f"--peers: there is no environment in {folder}: {ADVICE}")
    listed = subprocess.run([python, "-c", LIST], capture_output=True, text=True)
    versions = json.loads(listed.stdout) if listed.returncode == 0 else {}
    require("torch" in versions, f"--peers: there is no PyTorch in {folder}: {ADVICE}")
    return Peers(folder, {name: versions[name] for name in ("torch", "d3rlpy") if name in versions})


def set_up(folder: Path) -> None:
    """Makes the environment, or completes it.

    Raises:
        UserError: its folder cannot be written to, or pip fails.
    """
    check_writable(folder)
    if not python_of(folder).exists():
        venv.create(folder, with_pip=True)
    # On a processor the smaller wheels, where they can be reached: pip takes 2.13.0+cpu for newer.
    smaller = ["--extra-index-url", CPU_WHEELS] if jax.default_backend() == "cpu" else []
    pip = [python_of(folder), "-m", "pip", "install", "--retries", "1", *smaller, *PINS]
    if subprocess.run(pip, stdout=sys.stderr).returncode != 0:
        raise UserError(
            f"pip could not install {' and '.join(PINS)} into {folder}: see above. d3rlpy is for "
            "Python 3.9 to 3.12; --peers-env names an environment that you made yourself"
        )
