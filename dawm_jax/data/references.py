"""Published constants of robots, by the prefix of their environment ids.

Reference returns: D4RL (Fu et al. 2020), returns of a random and of an expert policy.
Return scales: DWM (Ding et al. 2024).
"""

REFERENCE_SCORES = {
    "ant": (-325.6, 3879.7),
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
}
RETURN_SCALES = {"halfcheetah": 1200.0, "hopper": 400.0, "walker2d": 550.0}


def robot_of(environment_id: str) -> str:
    """'Hopper-v5' -> 'hopper'. Ids of other namespaces match no robot."""
    return environment_id.split("-")[0].lower()
