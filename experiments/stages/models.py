"""The models of a source, trained as stages on the episodes that are not held out."""

from typing import Any

import jax
import optax

from dawm_jax.sources import Source
from dawm_jax.training.protocol import Data, Model
from experiments.run.context import Run
from experiments.stages.train import Trained, train_component
from experiments.store.stage import digest
from experiments.system.machine import enough_memory


def train_models(run: Run, source: Source) -> dict[str, Trained]:
    """The trained models of a source, by name.

    Sources that share a model with equal settings and data share its stage.
    """
    return {
        name: train_model(run, name, model, source.data(name, run.splits[0]))
        for name, model in source.models().items()
    }


def train_model(run: Run, name: str, model: Model, data: Data) -> Trained:
    """One trained model."""
    with enough_memory(f"the batch_size or the layers of {name}"):
        init_key, train_key = jax.random.split(run.key(name))
        stage = run.stage(name, model, extra=digest(data))
        state, every = model.init(init_key, data), run.config.checkpoint_every
        return train_component(run, stage, model, state, data, train_key, save_every=every)


def states_of(trained: dict[str, Trained]) -> dict[str, Any]:
    """The states of trained models, as sources take them."""
    return {name: one.state for name, one in trained.items()}


def summary(trained: Trained) -> dict[str, Any]:
    """The entry of a trained model in results.json."""
    params = getattr(trained.state, "params", trained.state)
    return {
        "parameters": optax.tree.size(params),
        "updates_per_second": trained.record["updates_per_second"],
        "commit": trained.record["commit"],
        "metrics_updates": trained.record["metrics_updates"],
        **trained.record["metrics"],
    }
