"""The whole walk in seconds, for tests and for the fault campaign (experiments/faults.py).

python -m experiments.main --config=experiments/configs/tiny.py

Its scores mean nothing.
"""

from ml_collections import ConfigDict

from experiments.configs import small


def get_config(dataset: str = "local/hopper/medium-replay-v0") -> ConfigDict:
    config = small.get_config(dataset)
    config.download = False
    config.collect_steps = 1_600
    config.seeds = 2
    config.updates = 20
    config.log_every = 2
    config.checkpoint_every = config.evaluate_every = 10
    config.evaluation_episodes = 2
    config.world_model.update(steps=20, width=8, multipliers=(1, 2), horizon=4, batch_size=16)
    config.inverse_dynamics.update(steps=20, hidden=(16,), batch_size=16)
    config.one_step_model.update(steps=20, hidden=(16,), batch_size=16)
    config.synthesis.update(transitions=300, chunk=32)
    config.measurement.update(windows=64, judged=32, episodes=4, steps=8)
    for name in ("bc", "td3bc", "iql"):
        config[name].update(hidden=(16, 16), batch_size=16)
    return config
