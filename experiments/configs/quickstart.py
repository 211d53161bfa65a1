"""The whole of DAWM in a few minutes on two CPU cores: level with recorded data, and no more.

    python -m experiments.main --config=experiments/configs/quickstart.py

Records 100,000 steps of one stochastic policy on Hopper on the first run. On such data there is
little to gain and something to lose: the run shows that TD3+BC is as good with synthetic
transitions as without, within the interval that it prints.
"""

from ml_collections import ConfigDict

from experiments.configs import small


def get_config(dataset: str = "local/hopper/medium-v0") -> ConfigDict:
    config = small.get_config(dataset)
    config.collect_steps = 100_000
    config.learners = ("td3bc",)
    config.seeds = 5
    config.updates = 6_000
    config.td3bc.batch_size = 128  # half the paper's, for half the time
    config.evaluate_every = 3_000
    config.evaluation_episodes = 5
    config.log_every = 500
    config.dawm.world_model.steps = 1_500
    config.dawm.world_model.ema_start = 500
    config.dawm.inverse_dynamics.steps = 2_000
    config.dawm.termination.steps = 2_000
    config.fidelity.update(windows=2_048, judged=512, transitions=2_048)
    config.fidelity.one_step_model.steps = 2_000
    for model in config.one_step.dynamics, config.one_step.behavior, config.one_step.termination:
        model.steps = 2_000
    config.synthesis.transitions = 100_000
    return config
