"""A training stage on a toy component, for tests."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from experiments.stages.train import Trained, train_stage
from experiments.store.checkpoints import Checkpoints
from experiments.store.stage import Stage, StageFiles

STAGE = Stage("walk", ["settings"])
State = dict[str, jax.Array]


class Numbers(struct.PyTreeNode):
    values: jax.Array

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.choice(key, self.values, shape)


@dataclass(frozen=True)
class Walk:
    """x <- x + noise; its 'loss' is (x - 2)^2, and not a number from update `bad_from` on."""

    version: ClassVar[int] = 1

    bad_from: int = 10**6
    steps: int = 12
    updates_per_step: int = 1
    batch_shape: tuple[int, ...] = (4,)

    def update(self, state: State, batch: jax.Array, key: jax.Array) -> tuple[State, State]:
        x = state["x"] + batch.mean() + jax.random.normal(key)
        count = state["count"] + 1
        loss = jnp.where(count >= self.bad_from, jnp.nan, (x - 2.0) ** 2)
        return {"x": x, "count": count}, {"loss": loss}


def start(
    workdir: Path, component: Walk = Walk(), seeds: int | None = None, **settings: Any
) -> Trained:
    """Trains the stage in chunks of 2 updates, saved every 4."""
    shape = (seeds,) if seeds else ()
    state = {"x": jnp.zeros(shape), "count": jnp.zeros(shape, jnp.int32)}
    key = jax.random.key(5)
    if seeds:
        key = jax.random.split(key, seeds)
    data = Numbers(jnp.arange(-2.0, 3.0))
    settings = {"chunk": 2, "save_every": 4, "seeds": seeds, **settings}
    return train_stage(workdir, STAGE, component, state, data, key, **settings)


def files_of(workdir: Path) -> StageFiles:
    """The files of the stage, whether or not it has started."""
    return StageFiles(workdir / "stages" / f"walk-{STAGE.fingerprint}")


def steps(folder: Path) -> list[int]:
    """The finished steps in a folder of checkpoints."""
    return Checkpoints(folder, "walk", keep=2).steps()


def lines(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def returns_of(state: State) -> dict[str, list[list[float]]]:
    """Two episodes a seed, of two policies; the first one's decide which state is the best."""
    x = np.asarray(state["x"], np.float64)
    returns = np.stack([x, 2.0 * x], axis=-1)
    return {"averaged": returns.tolist(), "last": (-returns).tolist()}


def assert_equal_results(workdir: Path, trained: Trained, whole: tuple[Path, Trained]) -> None:
    expected_workdir, expected = whole
    jax.tree.map(np.testing.assert_array_equal, trained.state, expected.state)
    for name in ("metrics", "curve"):
        assert trained.record[name] == expected.record[name]
    assert lines(workdir) == lines(expected_workdir)
    found, other = files_of(workdir), files_of(expected_workdir)
    assert steps(found.checkpoints)[-1] == 12
    assert steps(found.best) == steps(other.best)
    assert found.curve.read_text() == other.curve.read_text()
