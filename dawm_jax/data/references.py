"""Published constants of robots, by the prefix of their environment ids.

Reference returns: D4RL (Fu et al. 2020), returns of a random and of an expert policy. Those of
`D4RL_TASKS` are of D4RL's own environments.
Return scales: DWM (Ding et al. 2024).
"""

REFERENCE_SCORES = {
    "ant": (-325.6, 3879.7),
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
}
D4RL_TASKS = {  # by the start of the task's name
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
RETURN_SCALES = {"halfcheetah": 1200.0, "hopper": 400.0, "walker2d": 550.0}


def robot_of(environment_id: str) -> str:
    """'Hopper-v5' -> 'hopper'. Ids of other namespaces match no robot."""
    return environment_id.split("-")[0].lower()
