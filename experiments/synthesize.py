"""Writes synthetic episodes of a finished run as a data set for any library.

    python -m experiments.synthesize --run=runs/hopper --transitions=5_000_000 \
        --id=dawm/hopper/medium-v0

writes a Minari data set. --format=npz, d4rl or d3rlpy with --file=PATH writes one file. The
episodes stay in the run's folder, so that another format takes seconds. Details: docs/export.md.
"""

from pathlib import Path

from absl import app, flags, logging

from experiments.synthetic import FORMATS, Target, synthesize
from experiments.system.messages import ends_with_a_message

RUN = flags.DEFINE_string("run", None, "Folder of a finished run.", required=True)
SOURCE = flags.DEFINE_string("source", "dawm", "The source that generates, by its name.")
TRANSITIONS = flags.DEFINE_integer(
    "transitions", 1_000_000, "At least so many, in whole episodes.", 1, 1_000_000_000
)
EPISODE_STEPS = flags.DEFINE_integer(
    "episode_steps", None, "Steps of an episode; as many as the run's fidelity unless given.", 2
)
FORMAT = flags.DEFINE_enum("format", "minari", FORMATS, "What is written.")
ID = flags.DEFINE_string("id", None, "Id of the Minari data set, such as dawm/hopper/medium-v0.")
FILE = flags.DEFINE_string("file", None, "The file of another format.")
CHUNK = flags.DEFINE_integer("chunk", None, "Rollouts in one call; the run's unless given.", 1)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a data set or file of this name.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.FATAL)  # libraries also log the errors that they raise
    with ends_with_a_message("stopped: finished parts are kept; run the same command to resume"):
        file = Path(FILE.value).expanduser() if FILE.value else None
        target = Target(FORMAT.value, ID.value, file, OVERWRITE.value)
        settings = SOURCE.value, TRANSITIONS.value, EPISODE_STEPS.value, CHUNK.value
        synthetic = synthesize(Path(RUN.value).expanduser(), target, *settings)
    print(
        f"wrote {target.name}: {synthetic['transitions']} synthetic transitions in "
        f"{synthetic['episodes']} episodes, mean return {synthetic['return_mean']:.1f}"
    )


if __name__ == "__main__":
    app.run(main)
