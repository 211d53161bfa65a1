"""Trains learners on a source's transitions, all seeds at once, with evaluations."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.streaming import StoredTransitions, TransitionStream
from dawm_jax.policies.acting import LearnerPolicy, acting
from dawm_jax.settings import POLICIES
from experiments.run.context import Run
from experiments.simulation.evaluator import Evaluator, in_units
from experiments.stages.source import SourceResult
from experiments.stages.train import Returns, Trained, train_component
from experiments.system.machine import enough_memory
from experiments.system.processes import on_first
from experiments.system.tracing import trace

TRACED_STEPS = 10  # of an evaluation


@dataclass(frozen=True)
class Learned:
    """A learner's trained seeds on one source."""

    learner: str
    source: str
    trained: Trained


def policies(reported: str) -> list[str]:
    """Every policy of a learner that is evaluated, the reported one first."""
    return sorted(POLICIES, key=lambda policy: policy != reported)


@enough_memory("seeds, pool_memory, synthetic_ratio, or the learner's batch_size or hidden")
def train_learner(
    run: Run, name: str, source: SourceResult, evaluator: Evaluator | None
) -> Learned:
    """Trains every seed on recorded transitions and those of the source.

    A seed starts from the same parameters on every source, so that differences are due to the
    source.
    """
    learner, config = run.components.learners[name], run.config
    data: TransitionSet | TransitionStream
    if isinstance(source.synthetic, StoredTransitions):
        data = TransitionStream(run.transitions, source.synthetic, config.synthetic_ratio)
    else:
        data = TransitionSet(run.transitions, source.synthetic, config.synthetic_ratio)
    keys = jnp.stack([run.key(name, seed) for seed in range(config.seeds)])
    init_keys, train_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    stage = run.stage(
        f"{name}-{source.name}",
        learner,
        run.data_stage,
        source.stage,
        extra=[
            config.seeds,
            config.synthetic_ratio if source.synthetic is not None else None,
            config.evaluate_every,
            config.evaluation_episodes,
            config.policy,
        ],
    )
    act_key = run.key("act")
    starts = {policy: acting(LearnerPolicy(learner, policy)) for policy in policies(config.policy)}

    def episode_returns(states: Any, steps: int | None = None) -> Returns:
        if evaluator is None:
            return {}
        return {
            policy: evaluator.returns(in_units(start(states, act_key), run.dataset), steps).tolist()
            for policy, start in starts.items()
        }

    trained = train_component(
        run,
        stage,
        learner,
        jax.jit(jax.vmap(learner.init, in_axes=(0, None)))(init_keys, run.statistics),
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
    return Learned(name, source.name, trained)
