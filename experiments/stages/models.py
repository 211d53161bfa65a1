"""The models of a source, trained as stages on the episodes that are not held out."""

from typing import Any

import jax
import optax

from dawm_jax.errors import require
from dawm_jax.sources import Source
from dawm_jax.training.protocol import Data, Model
from experiments.run.context import Run
from experiments.stages.train import Trained, train_component
from experiments.store import files
from experiments.store.stage import Stage, digest
from experiments.system.machine import enough_memory


def train_models(run: Run, source: Source) -> dict[str, Trained]:
    """The trained models of a source, by name.

    Sources that share a model with equal settings and data share its stage.
    """
    return {
        name: train_model(run, name, model, source.data(name, run.splits[0]))
        for name, model in source.models().items()
    }


def find_models(run: Run, source: Source) -> dict[str, Trained]:
    """The trained models of a source, by name; nothing is trained.

    Raises:
        UserError: a model is not trained in the run's folder, not to its end, or damaged.
    """
    for name, model in source.models().items():
        stage = _stage(run, name, model, source.data(name, run.splits[0]))
        last = stage.files(run.workdir).checkpoints / str(model.steps)
        sealed = files.seal_of(last).exists()
        wrong = files.damage(last) if sealed else f"there is no {last}"
        require(
            wrong is None,
            f"the run {run.workdir} has no trained {name}: {wrong}. Finish it with the command and "
            f"the code that started it (see config.json and versions.json in its folder)",
        )
    return train_models(run, source)  # which finds them


def _stage(run: Run, name: str, model: Model, data: Data) -> Stage:
    return run.stage(name, model, extra=digest(data))


def train_model(run: Run, name: str, model: Model, data: Data) -> Trained:
    """One trained model."""
    with enough_memory(f"the batch_size or the layers of {name}"):
        init_key, train_key = jax.random.split(run.key(name))
        stage = _stage(run, name, model, data)
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
