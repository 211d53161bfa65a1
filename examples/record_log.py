"""A newcomer's robot: a cart with a pole, and the log that its controller leaves behind.

    python examples/record_log.py log.csv --steps=20000

The controller is a poor one: it pushes against the pole's fall, with noise, and soon loses it.
Each row holds what was observed, the force applied then, and its reward.
"""

import argparse
import csv

import gymnasium
import numpy as np

COLUMNS = ("t", "x", "angle", "dx", "dangle", "force", "reward", "fell", "trial")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--noise", type=float, default=1.0, help="of the force, in newtons")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    rng = np.random.default_rng(flags.seed)
    environment = gymnasium.make("InvertedPendulum-v5")
    observation, _ = environment.reset(seed=flags.seed)
    trial, time = 0, 0.0
    with open(flags.file, "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(COLUMNS)
        for _ in range(flags.steps):
            _, angle, _, dangle = observation
            force = np.clip(8.0 * angle + 0.5 * dangle + flags.noise * rng.normal(), -3.0, 3.0)
            following, reward, fell, timeout, _ = environment.step([force])
            log.writerow([time, *observation, force, reward, int(fell), trial])
            observation, time = following, time + environment.unwrapped.dt
            if fell or timeout:
                observation, _ = environment.reset()
                trial, time = trial + 1, 0.0
    print(f"{flags.file}: {flags.steps} steps of {trial + 1} trials")


if __name__ == "__main__":
    main()
