"""A training stage on a toy component, for tests."""

import json
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.tree_util import Partial

from experiments.stages.train import train_stage
from experiments.store.checkpoints import Checkpoints
from experiments.store.stage import Stage

STAGE = Stage("walk", ["settings"])


@struct.dataclass
class Numbers:
    values: jax.Array

    def sample(self, key, shape):
        return jax.random.choice(key, self.values, shape)


@dataclass(frozen=True)
class Walk:
    """x <- x + noise; its 'loss' is (x - 2)^2, and not a number from update `bad_from` on."""

    bad_from: int = 10**6
    steps: int = 12
    updates_per_step: int = 1
    batch_shape: tuple[int, ...] = (4,)

    def update(self, state, batch, key):
        x = state["x"] + batch.mean() + jax.random.normal(key)
        count = state["count"] + 1
        loss = jnp.where(count >= self.bad_from, jnp.nan, (x - 2.0) ** 2)
        return {"x": x, "count": count}, {"loss": loss}


def begin(x):
    return {"x": x, "count": jnp.zeros(x.shape, jnp.int32)}


def start(workdir, component=Walk(), seeds=None, **settings):
    """Trains the stage in chunks of 2 updates, saved every 4."""
    new, key = Partial(begin, jnp.zeros(seeds or ())), jax.random.key(5)
    if seeds:
        key = jax.random.split(key, seeds)
    data = Numbers(jnp.arange(-2.0, 3.0))
    settings = {"chunk": 2, "save_every": 4, "seeds": seeds, **settings}
    return train_stage(workdir, STAGE, component, new, data, key, **settings)


def folder(workdir):
    return workdir / "stages" / f"walk-{STAGE.fingerprint}"


def steps(workdir, name="checkpoints"):
    return Checkpoints(folder(workdir) / name, "walk", keep=2).steps()


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def returns_of(state):
    """Two episodes a seed."""
    x = np.asarray(state["x"], np.float64)
    return np.stack([x, 2.0 * x], axis=-1).tolist()


def assert_equal_results(workdir, trained, whole):
    expected_workdir, expected = whole
    jax.tree.map(np.testing.assert_array_equal, trained.state, expected.state)
    for name in ("metrics", "curve"):
        assert trained.record[name] == expected.record[name]
    assert lines(workdir) == lines(expected_workdir)
    assert steps(workdir)[-1] == 12
    assert steps(workdir, "best") == steps(expected_workdir, "best")
    curve = "curve.json"
    assert (folder(workdir) / curve).read_text() == (folder(expected_workdir) / curve).read_text()
