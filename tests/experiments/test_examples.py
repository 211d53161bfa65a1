"""The examples that need no other library's environment."""

import importlib.util
from pathlib import Path

import minari
import numpy as np

from dawm_jax.data.formats import d4rl

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_round_trip_writes_d4rl_s_rows_bit_for_bit(recorded, tmp_path):
    dataset = minari.load_dataset(recorded)
    folder = Path(dataset.storage.data_path).parent
    example("round_trip").write_d4rl(folder, tmp_path / "d4rl.hdf5")
    read = d4rl.episodes(d4rl.read(tmp_path / "d4rl.hdf5"))
    for episode, fields in zip(dataset, read, strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(fields[name], getattr(episode, name))
