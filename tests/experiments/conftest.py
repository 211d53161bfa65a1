from pathlib import Path

import pytest
from ml_collections import ConfigDict

from dawm_jax.sources import SOURCES
from experiments.configs import tiny


@pytest.fixture
def config(recorded: str) -> ConfigDict:
    return tiny.get_config(recorded)


@pytest.fixture(scope="session")
def finished(
    recorded: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ConfigDict, Path, dict]:
    """A finished tiny run of every registered source: its config, folder and results."""
    from experiments import pipeline

    config = tiny.get_config(recorded)
    config.sources, config.learners = tuple(SOURCES), ("bc", "td3bc")
    workdir = tmp_path_factory.mktemp("run")
    return config, workdir, pipeline.run(config, workdir)
