"""Records a Minari data set with the shipped policies, without a network.

    python -m experiments.collect --env=Hopper-v5 --quality=medium-replay --steps=200000

writes local/hopper/medium-replay-v0. The same seed gives the same data on any number of cores.
"""

from absl import app, flags

from experiments.simulation.behaviors import QUALITIES, ROBOTS
from experiments.simulation.recording import collect
from experiments.system.messages import ends_with_a_message

ENV = flags.DEFINE_enum("env", None, sorted(ROBOTS), "Gymnasium environment.", required=True)
QUALITY = flags.DEFINE_enum("quality", "medium-replay", sorted(QUALITIES), "Which policies act.")
STEPS = flags.DEFINE_integer("steps", 200_000, "Steps to record.", 1, 1_000_000_000)
SEED = flags.DEFINE_integer("seed", 0, "Seed of environments and policies.", lower_bound=0)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a data set of the same name.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with ends_with_a_message("stopped: nothing is recorded; run the same command to start again"):
        name = collect(ENV.value, QUALITY.value, STEPS.value, SEED.value, OVERWRITE.value)
    print(f"recorded {name}: {STEPS.value} steps")


if __name__ == "__main__":
    app.run(main)
