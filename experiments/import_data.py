"""Converts other people's data to a Minari data set: D4RL, OGBench, LeRobot, or logs of a robot.

    python -m experiments.import_data log.csv --id=mine/arm/first-v0 \\
        --observation=q*,dq* --action=torque* --reward=reward --terminal=done --episode=episode

docs/data.md has an example for each format.
"""

from pathlib import Path

from absl import app, flags

from dawm_jax.data.formats.detection import FORMATS
from dawm_jax.data.formats.logs import ColumnMap
from dawm_jax.errors import UserError
from experiments.simulation.import_options import Options
from experiments.simulation.importing import import_data
from experiments.system.messages import ends_with_a_message

ID = flags.DEFINE_string("id", None, "Id of the new data set.", required=True)
FORMAT = flags.DEFINE_enum("format", None, FORMATS, "Format; by the content unless given.")
ENV = flags.DEFINE_string("env", None, "Environment to evaluate in; D4RL's is found by the id.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a data set of the same id.")
LOW = flags.DEFINE_list("action_low", [], "Low bound of all actions, or of each.")
HIGH = flags.DEFINE_list("action_high", [], "High bound of all actions, or of each.")
OBSERVATION = flags.DEFINE_list("observation", [], "Columns of the observation; * and ? match any.")
ACTION = flags.DEFINE_list("action", [], "Columns of the action.")
NEXT = flags.DEFINE_list("next_observation", [], "Columns of the next observation, if recorded.")
REWARD = flags.DEFINE_string("reward", None, "Column of the reward.")
TERMINAL = flags.DEFINE_string("terminal", None, "Column that is 1 where the task ended.")
TIMEOUT = flags.DEFINE_string("timeout", None, "Column that is 1 where something else ended it.")
EPISODE = flags.DEFINE_string("episode", None, "Column with the number of the episode.")
TIME = flags.DEFINE_string("time", None, "Column with the time.")
GAP = flags.DEFINE_float("gap", None, "A longer time between two rows ends an episode.")
MAX_STEPS = flags.DEFINE_integer("max_steps", None, "Step limit, of D4RL without timeouts.", 1)
TASK = flags.DEFINE_string("task", None, "Single task of OGBench that gives the rewards.")


def main(argv: list[str]) -> None:
    if len(argv) < 2:
        raise app.UsageError("name a file or folder, such as log.csv")
    with ends_with_a_message("stopped: nothing is written; run the same command to start again"):
        summary = import_data(
            [Path(path).expanduser() for path in argv[1:]],
            ID.value,
            FORMAT.value,
            options(),
            overwrite=OVERWRITE.value,
        )
    print(summary)


def options() -> Options:
    """What the flags say about the files.

    Raises:
        UserError: a bound is no number.
    """
    return Options(
        environment=ENV.value,
        action_low=_numbers("action_low", LOW.value),
        action_high=_numbers("action_high", HIGH.value),
        columns=ColumnMap(
            observation=tuple(OBSERVATION.value),
            action=tuple(ACTION.value),
            next_observation=tuple(NEXT.value),
            reward=REWARD.value,
            terminal=TERMINAL.value,
            timeout=TIMEOUT.value,
            episode=EPISODE.value,
            time=TIME.value,
            gap=GAP.value,
        ),
        max_steps=MAX_STEPS.value,
        task=TASK.value,
    )


def _numbers(flag: str, texts: list[str]) -> tuple[float, ...]:
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        raise UserError(f"--{flag} is {','.join(texts)}; numbers are expected") from None


if __name__ == "__main__":
    app.run(main)
