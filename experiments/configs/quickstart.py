"""The whole of DAWM in a few minutes on two CPU cores; too short for good scores.

    python -m experiments.main --config=experiments/configs/quickstart.py

Records 200,000 steps of a medium policy on Hopper on the first run. Behavior cloning, the mean of
that policy, scores above its recorded episodes and far above random actions.
"""

from ml_collections import ConfigDict

from experiments.configs import small


def get_config(dataset: str = "local/hopper/medium-v0") -> ConfigDict:
    config = small.get_config(dataset)
    config.learners = ("bc", "td3bc")
    config.seeds = 2
    config.updates = 5_000
    config.evaluate_every = 2_500
    config.evaluation_episodes = 5
    config.log_every = 500
    config.dawm.world_model.steps = 1_500
    config.dawm.world_model.ema_start = 500
    config.dawm.inverse_dynamics.steps = 2_000
    config.dawm.termination.steps = 2_000
    config.fidelity.one_step_model.steps = 2_000
    for model in config.one_step.dynamics, config.one_step.behavior, config.one_step.termination:
        model.steps = 2_000
    config.synthesis.transitions = 100_000
    return config
