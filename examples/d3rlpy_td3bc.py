"""d3rlpy's TD3+BC on recorded, on exported, and on recorded and exported data.

d3rlpy needs other package versions than dawm_jax, so this script has its own environment, Python
3.9 to 3.12, and imports nothing of this package:

    python -m venv peers
    peers/bin/pip install torch d3rlpy==2.8.1 'mujoco>=3.1.5,<4' imageio

Its data are a recorded Minari data set and an export of d3rlpy's format:

    python -m experiments.synthesize --run=runs/hopper --transitions=1_000_000 \
        --format=d3rlpy --file=hopper.h5
    peers/bin/python examples/d3rlpy_td3bc.py --synthetic=hopper.h5 --json=scores.json \
        --recorded=~/.minari/datasets/local/hopper/medium-replay-v0

Settings are d3rlpy's defaults, which are the paper's (Fujimoto & Gu 2021), with standardized
observations. Batches are drawn uniformly from all transitions of a data set.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import d3rlpy
import gymnasium
import h5py
import mujoco
import numpy as np
import torch
from d3rlpy.dataset import Episode


def minari_episodes(folder: Path) -> list:
    """The episodes of a Minari data set in HDF5, as d3rlpy has them: without the last observation.

    d3rlpy 2.8.1's own `get_minari` keeps it, so that observations and actions of all but the first
    episode are shifted against each other.
    """
    episodes = []
    with h5py.File(folder / "data" / "main_data.hdf5") as file:
        for number in range(sum(name.startswith("episode_") for name in file)):
            group = file[f"episode_{number}"]
            episodes.append(
                Episode(
                    observations=group["observations"][:-1].astype(np.float32),
                    actions=group["actions"][()].astype(np.float32),
                    rewards=group["rewards"][()].astype(np.float32)[:, None],
                    terminated=bool(group["terminations"][-1]),
                )
            )
    return episodes


def train(episodes: list, environment: str, seed: int, options: argparse.Namespace) -> list:
    """The returns of the last policy after training on some episodes."""
    d3rlpy.seed(seed)
    buffer = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    scaler = d3rlpy.preprocessing.StandardObservationScaler()
    algorithm = d3rlpy.algos.TD3PlusBCConfig(observation_scaler=scaler).create(
        device=options.device
    )
    algorithm.fit(
        buffer,
        n_steps=options.updates,
        n_steps_per_epoch=options.updates,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )
    return [
        episode_return(algorithm, environment, 1000 * seed + n) for n in range(options.episodes)
    ]


def episode_return(algorithm, environment: str, seed: int) -> float:
    """The return of one episode."""
    with gymnasium.make(environment) as env:
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            action = algorithm.predict(observation[None].astype(np.float32))[0]
            observation, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", type=Path, required=True, help="folder of a Minari data set")
    parser.add_argument("--synthetic", type=Path, required=True, help="export in d3rlpy's format")
    parser.add_argument("--json", type=Path, required=True, help="where scores are written")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=50_000)
    parser.add_argument("--episodes", type=int, default=10, help="of evaluation, for each seed")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu:0")
    options = parser.parse_args()

    folder = options.recorded.expanduser()
    with h5py.File(options.synthetic) as file:
        origin = json.loads(file["synthetic"][()])
    environment, (low, high) = origin["environment"], origin["reference_scores"]
    recorded = minari_episodes(folder)
    with options.synthetic.open("rb") as file:
        synthetic = d3rlpy.dataset.load(Episode, file)
    arms = {
        "recorded": recorded,
        "synthetic": synthetic,
        "recorded + synthetic": [*recorded, *synthetic],
    }
    results = {
        "recorded": origin["recorded"],
        "environment": environment,
        "updates": options.updates,
        "reference_scores": [low, high],
        "versions": {
            "d3rlpy": d3rlpy.__version__,
            "torch": torch.__version__,
            "gymnasium": gymnasium.__version__,
            "mujoco": mujoco.__version__,
            "python": platform.python_version(),
        },
        "arms": [],
    }
    for name, episodes in arms.items():
        started, seeds = time.monotonic(), []
        for seed in range(options.seeds):
            returns = train(episodes, environment, seed, options)
            score = 100 * (float(np.mean(returns)) - low) / (high - low)
            seeds.append({"seed": seed, "returns": returns, "score": score})
            print(f"{name}, seed {seed}: score {score:.1f}", flush=True)
        results["arms"].append(
            {
                "data": name,
                "transitions": sum(episode.transition_count for episode in episodes),
                "mean_score": float(np.mean([each["score"] for each in seeds])),
                "seeds": seeds,
                "seconds": time.monotonic() - started,
            }
        )
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
