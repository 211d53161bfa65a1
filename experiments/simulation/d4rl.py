"""D4RL's data as Minari data sets, from a file or from a mirror."""

import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from dawm_jax.data.columns import check_columns
from dawm_jax.data.formats import d4rl
from dawm_jax.data.formats.minari_files import folder_of
from dawm_jax.data.references import D4RL_TASKS
from dawm_jax.errors import UserError, require
from experiments.simulation.environments import make
from experiments.store.new_data_set import new_data_set, write

# D4RL's rewards and physics are those of version 2; version 4 has the same rewards.
ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ant": ("Ant-v4", {"use_contact_forces": True}),
    "halfcheetah": ("HalfCheetah-v4", {}),
    "hopper": ("Hopper-v4", {}),
    "walker2d": ("Walker2d-v4", {}),
}
BLOCK = 1 << 20  # bytes per read of a download
TIMEOUT = 60.0  # seconds without an answer


def import_file(
    path: Path,
    dataset_id: str,
    *,
    environment: str | None = None,
    max_steps: int | None = None,
    overwrite: bool = False,
    source: str = "",
) -> str:
    """Writes a file in D4RL's layout as the Minari data set `dataset_id`; returns a summary.

    Args:
        environment: the id of the Gymnasium environment to evaluate in; by the task in the id
            unless given, and none for tasks other than locomotion.
        max_steps: step limit of data without timeouts; the environment's unless given.
        source: where the file is from, for the description.

    Raises:
        UserError: the file is unusable, or the data set exists and may not be overwritten. Nothing
            is written.
    """
    with new_data_set(dataset_id, overwrite):
        arrays = d4rl.read(path)
        task = dataset_id.removeprefix("d4rl/").replace("/", "-").replace("_", "-").lower()
        settings: dict[str, Any] = {}
        if environment is None:
            environment, settings = ENVIRONMENTS.get(task.split("-")[0], (None, {}))
        spec = _specification(environment, settings, arrays)
        episodes = list(d4rl.episodes(arrays, max_steps or (spec and spec.max_episode_steps)))
        shapes = [arrays[name].shape[1:] for name in ("observations", "actions")]
        columns = check_columns(str(path), episodes, *shapes)
        scores = [pair for start, pair in D4RL_TASKS.items() if task.startswith(start)]
        write(
            dataset_id,
            episodes,
            environment=spec,
            spaces=(
                Box(-np.inf, np.inf, shapes[0], arrays["observations"].dtype.type),
                Box(-1.0, 1.0, shapes[1], arrays["actions"].dtype.type),
            ),
            reference_scores=scores[0] if scores else None,
            algorithm_name="D4RL",
            description=f"Converted from D4RL's {source or path.name}.",
        )
    steps, ended = len(columns.rewards), int(columns.terminated.sum())
    dropped = len(arrays["rewards"]) - steps
    return (
        f"wrote {dataset_id}: {len(columns.lengths)} episodes, {ended} to a terminal state, "
        f"{steps} steps ({dropped} dropped, whose next observation is unknown), "
        f"evaluated in {spec.id if spec else 'no environment'}"
    )


def _specification(
    environment: str | None, settings: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> Any | None:
    """The environment's specification, if it can be made and has the data's sizes."""
    if environment is None:
        return None
    try:
        with make(environment, **settings) as made:
            sizes = [space.shape for space in (made.observation_space, made.action_space)]
            spec = made.spec
    except Exception as error:  # environments of other packages raise anything
        raise UserError(
            f"the environment {environment} cannot be made: {type(error).__name__}: {error}"
        ) from error
    found = [arrays[name].shape[1:] for name in ("observations", "actions")]
    require(
        sizes == found,
        f"observations and actions in {environment} have shapes {sizes}, those of the data {found}"
        ": name another environment",
    )
    return spec


def fetch_missing(dataset_id: str, download: bool, mirror: str, revision: str) -> None:
    """Downloads and converts each missing d4rl/<robot>/<quality>-v<N> of `dataset_id`.

    Raises:
        UserError: downloads are not allowed, or the mirror does not have the file.
    """
    for part in dataset_id.split("+"):
        match part.split("/"):
            case ["d4rl", robot, name] if "-v" in name and not folder_of(part).exists():
                quality, version = name.rsplit("-v", 1)
                file = f"{robot}_{quality.replace('-', '_')}-v{version}.hdf5"
                url = f"{mirror.rstrip('/')}/{revision}/{file}"
                require(
                    download,
                    f"No data set '{part}' on this machine. Allow the download from {url} "
                    "(download=true), or convert a file with experiments.import_d4rl",
                )
                print(f"downloading {url}", flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / file
                    _download(url, path)
                    print(import_file(path, part, source=url), flush=True)


def _download(url: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
            expected = answer.headers.get("Content-Length")
            while block := answer.read(BLOCK):
                file.write(block)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        raise UserError(
            f"{url} cannot be downloaded: {error}. Check the network and the data set's id, name "
            "another mirror (d4rl_mirror, d4rl_revision), or convert a file with "
            "experiments.import_d4rl"
        ) from error
    size = path.stat().st_size
    require(
        expected is None or int(expected) == size,
        f"{url} broke off after {size} of {expected} bytes: run the same command again",
    )
