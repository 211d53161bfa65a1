"""Published and measured constants of robots, by the prefix of their environment ids.

Reference returns score 0 and 100. Those of D4RL (Fu et al. 2020) are of a random and of an expert
policy in D4RL's own environments. Those of Gymnasium's v5 environments are of uniform random
actions (`experiments.random_returns`) and of the expert policies that recorded Minari's mujoco data
sets. Return scales: DWM (Ding et al. 2024).
"""

from typing import NamedTuple

REFERENCE_SCORES = {
    "ant": (-325.6, 3879.7),
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
}
D4RL_TASKS = {  # by the first words of the task's name
    **REFERENCE_SCORES,
    "antmaze": (0.0, 1.0),
    "kitchen": (0.0, 4.0),
    "maze2d-umaze": (23.85, 161.86),
    "maze2d-medium": (13.13, 277.39),
    "maze2d-large": (6.7, 273.99),
    "pen": (96.262799, 3076.833102),
    "hammer": (-274.856578, 12794.134825),
    "door": (-56.512833, 2880.569309),
    "relocate": (-6.425911, 4233.877798),
}
RANDOM_RETURNS = {  # experiments/results/random-returns.json: 200 episodes each
    "ant": -55.38,
    "halfcheetah": -278.17,
    "hopper": 17.5,
    "humanoid": 112.68,
    "inverteddoublependulum": 48.58,
    "invertedpendulum": 5.5,
    "pusher": -148.68,
    "reacher": -42.94,
    "swimmer": 2.61,
    "walker2d": 1.69,
}


class Published(NamedTuple):
    """A return and where it is published."""

    value: float
    source: str


CARD = "https://huggingface.co/farama-minari/"
EXPERT_RETURNS = {  # means of 1,000 deterministic episodes, from the policies' model cards
    "halfcheetah": Published(17641.80, f"{CARD}HalfCheetah-v5-TQC-expert"),
    "hopper": Published(4098.17, f"{CARD}Hopper-v5-SAC-expert"),
    "walker2d": Published(6956.61, f"{CARD}Walker2d-v5-SAC-expert"),
}
RETURN_SCALES = {"halfcheetah": 1200.0, "hopper": 400.0, "walker2d": 550.0}


def task_scores(task: str) -> tuple[float, float] | None:
    """D4RL's reference returns of a task such as 'antmaze-umaze-v0', which is no task of 'ant'."""
    for words, scores in D4RL_TASKS.items():
        if f"{task}-".startswith(f"{words}-"):
            return scores
    return None


def robot_of(environment_id: str) -> str:
    """'Hopper-v5' -> 'hopper'. Ids of other namespaces match no robot."""
    return environment_id.split("-")[0].lower()
