"""DAWM for two CPU cores and an hour.

python -m experiments.collect --env=Hopper-v5 --quality=medium-replay --steps=200000
python -m experiments.main --config=experiments/configs/small.py:local/hopper/medium-replay-v0
"""

from ml_collections import ConfigDict

from experiments.configs import dawm


def get_config(dataset: str = "local/hopper/medium-replay-v0") -> ConfigDict:
    config = dawm.get_config(dataset)
    config.learners = ("td3bc", "iql")
    config.seeds = 8
    config.updates = 24_000
    config.evaluate_every = 12_000
    config.dawm.world_model.update(steps=8_000, batch_size=128)
    config.dawm.inverse_dynamics.update(steps=20_000, hidden=(256, 256))
    config.dawm.return_quantile.steps = 6_000
    config.fidelity.one_step_model.steps = 6_000
    config.dawm.dynamics.steps = config.one_step.dynamics.steps = 20_000
    config.one_step.behavior.steps = 10_000
    config.synthesis.transitions = 500_000
    return config
