from pathlib import Path

import pytest
from ml_collections import ConfigDict

from experiments.configs import small


def tiny(dataset: str) -> ConfigDict:
    """A config that walks the whole way in seconds."""
    config = small.get_config(dataset)
    config.download = False
    config.seeds = 2
    config.updates = 20
    config.log_every = 2
    config.checkpoint_every = config.evaluate_every = 10
    config.evaluation_episodes = 2
    config.world_model.update(steps=20, width=8, multipliers=(1, 2), horizon=4, batch_size=16)
    config.inverse_dynamics.update(steps=20, hidden=(16,), batch_size=16)
    config.one_step_model.update(steps=20, hidden=(16,), batch_size=16)
    config.synthesis.update(transitions=300, chunk=32)
    for name in ("bc", "td3bc", "iql"):
        config[name].update(hidden=(16, 16), batch_size=16)
    return config


@pytest.fixture
def config(recorded: str) -> ConfigDict:
    return tiny(recorded)


@pytest.fixture(scope="session")
def finished(
    recorded: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ConfigDict, Path, dict]:
    """A finished tiny run: its config, folder and results."""
    from experiments import pipeline

    config = tiny(recorded)
    workdir = tmp_path_factory.mktemp("run")
    return config, workdir, pipeline.run(config, workdir)
