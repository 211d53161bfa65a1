"""The whole of DAWM in a few minutes on two CPU cores.

    python -m experiments.main --config=experiments/configs/quickstart.py

Records 80,000 steps of one stochastic policy on Hopper on the first run. On such data there is
little to gain and something to lose: the run shows whether TD3+BC stays within a few points of
what it learns without synthetic transitions.
"""

from ml_collections import ConfigDict

from experiments.configs import small


def get_config(dataset: str = "local/hopper/medium-v0") -> ConfigDict:
    config = small.get_config(dataset)
    config.collect_steps = 80_000
    config.learners = ("td3bc",)
    config.synthetic_ratio = 0.25  # few, as the models are trained for a minute
    config.seeds = 6  # an even number, for two cores; five are the fewest for an interval
    config.updates = 3_500
    config.td3bc.batch_size = 128  # half the paper's, for half the time
    config.evaluate_every = 3_500
    config.evaluation_episodes = 3
    config.log_every = 500
    config.dawm.world_model.steps = 1_000
    config.dawm.world_model.update(batch_size=128, ema_start=500)
    config.dawm.inverse_dynamics.update(steps=3_000, hidden=(256, 256))
    config.dawm.start_preference = 0.0  # one policy's episodes differ by luck
    config.dawm.return_quantile.steps = config.dawm.dynamics.steps = 2_000
    config.fidelity.update(windows=256, judged=128, transitions=512, contexts=32)
    config.fidelity.update(episodes=16, steps=100)
    config.fidelity.one_step_model.steps = 2_000
    for model in config.one_step.dynamics, config.one_step.behavior:
        model.steps = 2_000
    config.synthesis.transitions = 40_000
    return config
