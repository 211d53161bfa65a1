"""Converts a file in D4RL's HDF5 layout to a Minari data set.

    python -m experiments.import_d4rl hopper_medium-v2.hdf5 --id=d4rl/hopper/medium-v2

`experiments.main --config.dataset=d4rl/hopper/medium-v2` downloads and converts the file itself.
"""

from pathlib import Path

from absl import app, flags

from experiments.simulation.d4rl import import_file
from experiments.system.messages import ends_with_a_message

ID = flags.DEFINE_string("id", None, "Id of the new data set.", required=True)
ENV = flags.DEFINE_string("env", None, "Environment to evaluate in; by the id unless given.")
MAX_STEPS = flags.DEFINE_integer("max_steps", None, "Step limit, of data without timeouts.", 1)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a data set of the same id.")


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("name one file, such as hopper_medium-v2.hdf5")
    with ends_with_a_message("stopped: nothing is written; run the same command to start again"):
        summary = import_file(
            Path(argv[1]).expanduser(),
            ID.value,
            environment=ENV.value,
            max_steps=MAX_STEPS.value,
            overwrite=OVERWRITE.value,
        )
    print(summary)


if __name__ == "__main__":
    app.run(main)
