"""D4RL's data from a mirror."""

import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from dawm_jax.data.formats.minari_files import folder_of
from dawm_jax.errors import UserError, require
from experiments.simulation.importing import import_data

BLOCK = 1 << 20  # bytes per read of a download
TIMEOUT = 60.0  # seconds without an answer


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
                    "(download=true), or convert a file with experiments.import_data",
                )
                print(f"downloading {url}", flush=True)
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / file
                    _download(url, path)
                    print(import_data([path], part, "d4rl", origin=url), flush=True)


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
            "experiments.import_data"
        ) from error
    size = path.stat().st_size
    require(
        expected is None or int(expected) == size,
        f"{url} broke off after {size} of {expected} bytes: run the same command again",
    )
