"""Small SAC policies of three robots, shipped to collect data where nothing can be downloaded."""

from importlib.resources import files

import numpy as np
from gymnasium.spaces import Box

ROBOTS = {"Hopper-v5": "hopper", "HalfCheetah-v5": "halfcheetah", "Walker2d-v5": "walker2d"}
REPLAY = ("random", *(f"replay_{index}" for index in range(6)), "medium")
QUALITIES = {  # the policies that share the steps equally, in this order (a recipe after D4RL)
    "random": ("random",),
    "medium": ("medium",),
    "medium-replay": REPLAY,
    "medium-expert": ("medium", "expert"),
    "expert": ("expert",),
}


class Behavior:
    """A stochastic policy: `name` is 'random' or one of those in the robot's file."""

    def __init__(self, environment_id: str, name: str, rng: np.random.Generator):
        self.name = name
        self.rng = rng
        if name != "random":
            path = files(__name__) / f"{ROBOTS[environment_id]}.npz"
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                index = list(stored["names"]).index(name)
                layers = ("w0", "b0", "w1", "b1", "w_mean", "b_mean", "w_log_std", "b_log_std")
                self.weights = [stored[layer][index].astype(np.float32) for layer in layers]

    def __call__(self, observation: np.ndarray, space: Box) -> np.ndarray:
        """An action for one observation: squashed Gaussian, or uniform if random."""
        if self.name == "random":
            return self.rng.uniform(space.low, space.high).astype(np.float32)
        w0, b0, w1, b1, w_mean, b_mean, w_log_std, b_log_std = self.weights
        hidden = np.maximum(observation.astype(np.float32) @ w0 + b0, 0.0)
        hidden = np.maximum(hidden @ w1 + b1, 0.0)
        std = np.exp(np.clip(hidden @ w_log_std + b_log_std, -20.0, 2.0))
        noise = self.rng.standard_normal(len(std), dtype=np.float32)
        return np.tanh(hidden @ w_mean + b_mean + std * noise)
