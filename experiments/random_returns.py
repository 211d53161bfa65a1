"""Measures the returns of uniform random actions in Gymnasium's MuJoCo environments.

    python -m experiments.random_returns --out=experiments/results/random-returns.json

They score 0 on Minari's mujoco data sets, whose metadata have no reference scores; the table is in
`dawm_jax/data/references.py`.
"""

from pathlib import Path

from absl import app, flags, logging

from experiments.simulation.random_policy import random_returns
from experiments.store.files import write_json
from experiments.system.machine import check_writable
from experiments.system.messages import ends_with_a_message
from experiments.system.provenance import versions

ENVIRONMENTS = [
    "Ant-v5",
    "HalfCheetah-v5",
    "Hopper-v5",
    "Humanoid-v5",
    "InvertedDoublePendulum-v5",
    "InvertedPendulum-v5",
    "Pusher-v5",
    "Reacher-v5",
    "Swimmer-v5",
    "Walker2d-v5",
]
ENV = flags.DEFINE_list("env", ENVIRONMENTS, "Ids of the environments.")
EPISODES = flags.DEFINE_integer("episodes", 200, "Episodes in each of them.", 2, 1_000_000)
OUT = flags.DEFINE_string("out", "random-returns.json", "Result file.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.ERROR)
    path = Path(OUT.value).expanduser()
    with ends_with_a_message("stopped: nothing is written; run the same command to start again"):
        check_writable(path.parent)
        found = random_returns(ENV.value, EPISODES.value)
        result = {
            "versions": versions(),
            "episodes": EPISODES.value,
            "seeds": f"0 to {EPISODES.value - 1}, of reset and of the actions",
            "environments": found,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, result)
    for name, row in found.items():
        print(f"{name}: {row['return_mean']:.2f} +- {row['standard_error']:.2f}")
    print(f"wrote {path}")


if __name__ == "__main__":
    app.run(main)
