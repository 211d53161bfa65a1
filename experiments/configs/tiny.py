"""The whole walk in seconds, for tests and for the fault campaign, `experiments.faults`.

python -m experiments.main --config=experiments/configs/tiny.py

Its scores mean nothing.
"""

from ml_collections import ConfigDict

from dawm_jax.learners import LEARNERS
from experiments.configs import small


def get_config(dataset: str = "local/hopper/medium-replay-v0") -> ConfigDict:
    config = small.get_config(dataset)
    config.download = False
    config.collect_steps = 1_600
    config.seeds = 2
    config.updates = 20
    config.max_distance = None  # such models are never good enough
    config.log_every = 2
    config.checkpoint_every = config.evaluate_every = 10
    config.evaluation_episodes = 2
    config.dawm.world_model.update(steps=20, width=8, multipliers=(1,), horizon=4, batch_size=16)
    config.dawm.inverse_dynamics.update(steps=20, hidden=(16,), batch_size=16)
    config.dawm.return_quantile.update(steps=20, hidden=(16,), batch_size=16)
    config.fidelity.one_step_model.update(steps=20, hidden=(16,), batch_size=16)
    one_step = config.one_step
    ensembles = one_step.dynamics, config.dawm.dynamics
    for model in *ensembles, one_step.behavior:
        model.update(steps=20, hidden=(16,), batch_size=16)
    for ensemble in ensembles:
        ensemble.update(networks=3, elites=2)
    config.synthesis.update(transitions=300, chunk=32)
    config.fidelity.update(
        windows=64, judged=32, contexts=16, samples=2, transitions=32, episodes=4, steps=8
    )
    for name in LEARNERS:
        config[name].update(hidden=(16, 16), batch_size=16)
    return config
