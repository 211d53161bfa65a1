"""The whole way of a data set, timed: in as D4RL's HDF5, out as episodes that d3rlpy trains on.

    python examples/round_trip.py trip --peers=peers/bin/python

Everything is left in the folder `trip`; `trip/round_trip.json` has the seconds of each step and the
megabytes that it wrote. `--peers` is the Python of d3rlpy's environment (see d3rlpy_td3bc.py).
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from experiments.system.provenance import versions

EXAMPLES = Path(__file__).absolute().parent
RECORDED, IMPORTED = "local/hopper/medium-replay-v0", "trip/hopper/medium-replay-v0"
EXPORTED = "dawm/hopper/medium-replay-v0"


def commands(steps: int, transitions: int, config: str, peers: str) -> dict[str, str]:
    """The commands by what they do, with the folder of the trip as the working directory."""
    python = f"{sys.executable} -m experiments"
    synthesize = f"{python}.synthesize --run=run --transitions={transitions}"
    policy = "--run=run --learner=td3bc --source=dawm"
    trained = f"--recorded=minari/{IMPORTED} --synthetic=d3rlpy.h5 --json=d3rlpy.json"
    return {
        "collect": f"{python}.collect --env=Hopper-v5 --quality=medium-replay --steps={steps}",
        "import": f"{python}.import_data d4rl.hdf5 --id={IMPORTED} --env=Hopper-v5",
        "train": f"{python}.main --config={config}:{IMPORTED} --workdir=run",
        "synthesize for Minari": f"{synthesize} --id={EXPORTED}",
        "export for d3rlpy": f"{synthesize} --format=d3rlpy --file=d3rlpy.h5",
        "train d3rlpy": f"{peers} {EXAMPLES}/d3rlpy_td3bc.py {trained} --seeds=1 --updates=2000",
        "export a policy": f"{python}.export_policy {policy} --out=policy",
        "evaluate": f"{python}.evaluate {policy} --episodes=20 --record=film.webp",
        "inspect": f"{python}.inspect --run=run",
    }


def write_d4rl(minari: Path, file: Path) -> None:
    """A recorded Minari data set as D4RL writes one: a row a step, with the next observations."""
    rows: dict[str, list[np.ndarray]] = {}
    with h5py.File(minari / "data" / "main_data.hdf5") as source:
        for number in range(len(source)):
            episode = source[f"episode_{number}"]
            columns = {
                "observations": episode["observations"][:-1],
                "next_observations": episode["observations"][1:],
                "actions": episode["actions"][()],
                "rewards": episode["rewards"][()],
                "terminals": episode["terminations"][()],
                "timeouts": episode["truncations"][()],
            }
            for name, values in columns.items():
                rows.setdefault(name, []).append(values)
    with h5py.File(file, "w") as target:
        for name, parts in rows.items():
            target[name] = np.concatenate(parts)


def size(folder: Path) -> float:
    """The megabytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peers", type=Path, required=True, help="d3rlpy's Python")
    parser.add_argument("--steps", type=int, default=200_000, help="of the recorded data")
    parser.add_argument("--transitions", type=int, default=1_000_000, help="to synthesize")
    parser.add_argument("--config", default="experiments/configs/quickstart.py")
    flags = parser.parse_args()
    folder = flags.folder.absolute()
    folder.mkdir(parents=True)
    root = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    settings = {"MINARI_DATASETS_PATH": str(folder / "minari"), "PYTHONPATH": root}
    rows = []

    def timed(name: str, step: Callable[[], None]) -> None:
        before, started = size(folder), time.monotonic()
        step()
        seconds, written = time.monotonic() - started, size(folder) - before
        rows.append({"step": name, "seconds": round(seconds, 1), "megabytes": round(written, 1)})
        print(f"{name}: {seconds:.0f} s, {written:.0f} MB", flush=True)

    def run(command: str) -> None:
        with (folder / "log.txt").open("a") as log:
            print(f"== {command}", file=log, flush=True)
            subprocess.run(
                shlex.split(command),
                cwd=folder,
                env=os.environ | settings,
                check=True,
                stdout=log,
                stderr=log,
            )

    config, peers = str(Path(flags.config).absolute()), str(flags.peers.absolute())
    for name, command in commands(flags.steps, flags.transitions, config, peers).items():
        timed(name, partial(run, command))
        if name == "collect":
            minari = folder / "minari" / RECORDED
            timed("write D4RL's HDF5", partial(write_d4rl, minari, folder / "d4rl.hdf5"))
    results = {
        "steps": flags.steps,
        "transitions": flags.transitions,
        "config": flags.config,
        "versions": versions(),
        "rows": rows,
    }
    (folder / "round_trip.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
