"""Learners trained on a source's transitions, all seeds at once, and evaluated on the way."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.streaming import StoredTransitions, TransitionStream
from experiments.run.context import Run
from experiments.simulation.evaluator import Evaluator
from experiments.stages.sources import Source
from experiments.stages.train import Trained, train_component
from experiments.system.machine import enough_memory
from experiments.system.processes import on_first
from experiments.system.tracing import trace

TRACED_STEPS = 10  # of an evaluation


@dataclass(frozen=True)
class Learned:
    """A learner's policies, one a seed, and how they were trained."""

    learner: str
    source: str
    trained: Trained


@enough_memory("seeds, pool_memory, or the learner's batch_size or hidden")
def train_learner(
    run: Run, name: str, source_name: str, source: Source, evaluator: Evaluator | None
) -> Learned:
    """Trains every seed on recorded transitions and the source's; the last policy counts.

    A seed starts from the same parameters on every source, so that differences are the source's.
    """
    learner, config = run.components.learners[name], run.config
    streams = isinstance(source.synthetic, StoredTransitions)
    mix = TransitionStream if streams else TransitionSet
    data = mix(run.transitions, source.synthetic, config.synthetic_ratio)
    keys = jnp.stack([run.key(name, seed) for seed in range(config.seeds)])
    init_keys, train_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    stage = run.stage(
        f"{name}-{source_name}",
        learner,
        run.data_stage,
        source.stage,
        extra=[
            config.seeds,
            config.synthetic_ratio,
            config.evaluate_every,
            config.evaluation_episodes,
        ],
    )
    act = jax.jit(jax.vmap(learner.act))

    def episode_returns(state: object, steps: int | None = None) -> list[list[float]]:
        if evaluator is None:
            return []

        def policy(observation: np.ndarray) -> np.ndarray:
            return np.asarray(act(state, observation))

        return evaluator.returns(policy, steps).tolist()

    trained = train_component(
        run,
        stage,
        learner,
        Partial(jax.vmap(learner.init, in_axes=(0, None)), init_keys, run.statistics),
        data,
        train_keys,
        save_every=config.evaluate_every,
        seeds=config.seeds,
        measure=episode_returns,
    )
    if run.profile and evaluator:
        few = partial(on_first, episode_returns, trained.state, TRACED_STEPS)
        what = f"{TRACED_STEPS} steps of all environments"
        trace(run.workdir, f"{stage.name}-evaluation", what, few)
    return Learned(name, source_name, trained)
