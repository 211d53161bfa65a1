"""The Python environment of the peers, which need other package versions than this project."""

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
LIST_PACKAGES = (
    "import json; from importlib.metadata import distributions; "
    "print(json.dumps({d.name: d.version for d in distributions()}))"
)
ADVICE = "create the environment with python -m experiments.benchmark --setup-peers"


def default_folder() -> Path:
    """A folder in the user's cache."""
    home = Path.home()
    caches = home / ("Library/Caches" if platform.system() == "Darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or caches) / "dawm_jax" / "peers"


def interpreter(folder: Path) -> Path:
    """The Python interpreter of an environment."""
    return folder / "bin" / "python"


def find_peers(folder: Path) -> Peers:
    """The peers in an environment; d3rlpy is optional.

    Raises:
        UserError: there is no environment in the folder, or PyTorch is not installed in it.
    """
    python = interpreter(folder)
    require(python.exists(), f"--peers: there is no Python environment in {folder}; {ADVICE}")
    listed = subprocess.run([python, "-c", LIST_PACKAGES], capture_output=True, text=True)
    versions = json.loads(listed.stdout) if listed.returncode == 0 else {}
    require("torch" in versions, f"--peers: PyTorch is not installed in {folder}; {ADVICE}")
    return Peers(folder, {name: versions[name] for name in ("torch", "d3rlpy") if name in versions})


def install_peers(folder: Path) -> None:
    """Creates the environment unless it exists, and installs the peers.

    Raises:
        UserError: the folder is not writable, or pip fails.
    """
    check_writable(folder)
    if not interpreter(folder).exists():
        venv.create(folder, with_pip=True)
    # On a CPU, pip prefers the smaller wheels, as 2.13.0+cpu counts as newer than 2.13.0.
    index = ["--extra-index-url", CPU_WHEELS] if jax.default_backend() == "cpu" else []
    python = str(interpreter(folder))
    pip = [python, "-m", "pip", "install", "--retries", "1", *index, *PINS]
    if subprocess.run(pip, stdout=sys.stderr).returncode != 0:
        raise UserError(
            f"pip could not install {' and '.join(PINS)} into {folder}; its output is above. "
            "d3rlpy needs Python 3.9 to 3.12; install both into another environment and name that "
            "with --peers-env"
        )
