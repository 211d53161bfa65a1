"""Trains and evaluates what a config describes.

python -m experiments.main --config=experiments/configs/quickstart.py
"""

from pathlib import Path

from absl import app
from ml_collections import ConfigDict

from experiments.launch import PROFILE, launch, parse


def run(config: ConfigDict, workdir: Path) -> None:
    from experiments import pipeline  # here: processes that record data import this module

    pipeline.run(config, workdir, PROFILE.value)


def main(_: list[str]) -> None:
    launch(run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
