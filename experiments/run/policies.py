"""Trained policies that act in an environment: those of a finished run, or one from a file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from dawm_jax.export.reading import ExportedPolicy
from dawm_jax.policies.acting import LearnerPolicy, acting
from experiments.run.finished import FinishedRun
from experiments.simulation.environments import making
from experiments.simulation.evaluator import Evaluator, Layouts, Policy, in_units, reset_seed

AT_ONCE = 16  # episodes of a seed side by side, each with an environment of its own


@dataclass(frozen=True)
class Policies:
    """The policies of one training, one a seed."""

    facts: dict[str, str]  # name, source, policy
    seeds: list[int]
    run_seed: int  # episodes start from the same states as in the evaluations of this run
    start: Callable[[], Policy]  # for new episodes, in the environment's units
    layouts: Layouts

    def returns(self, spec: Any, episodes: int) -> np.ndarray:
        """The returns (seeds, episodes) in an environment.

        Raises:
            UserError: the environment cannot be made, or fails.
        """
        blocks = -(-episodes // AT_ONCE)
        side_by_side = -(-episodes // blocks)
        with making(spec):
            evaluator = Evaluator(spec, self.seeds, side_by_side, self.run_seed, self.layouts)
        try:
            starts = range(0, episodes, side_by_side)
            found = [evaluator.returns(self.start(), first=first) for first in starts]
        finally:
            evaluator.close()
        return np.concatenate(found, axis=1)[:, :episodes]

    def first_episode(self) -> tuple[Callable[[Any], Any], int]:
        """How the first seed acts in the environment, and what resets its first episode."""
        policy, seeds = self.start(), len(self.seeds)

        def act(observation: Any) -> Any:
            vector = self.layouts.observation.flat(observation)
            same = np.broadcast_to(vector, (seeds, 1, vector.size))
            return self.layouts.action.nested(policy(same)[0, 0])

        return act, reset_seed(self.run_seed, self.seeds[0], 0)


def of_run(
    run: FinishedRun, learner: str | None, source: str | None, seed: int | None
) -> list[Policies]:
    """The policies that a run reports, of all learners, sources and seeds or of those named.

    Raises:
        UserError: the run has none of that name, or a state is damaged.
    """
    chosen = range(run.config.seeds) if seed is None else [run.position(seed)]
    return [_trained(run, entry, list(chosen)) for entry in run.entries(learner, source)]


def _trained(run: FinishedRun, entry: dict[str, Any], chosen: list[int]) -> Policies:
    states = jax.tree.map(lambda leaf: leaf[np.array(chosen)], run.states(entry))
    begin = acting(LearnerPolicy(run.learner(entry["name"]), run.config.policy))
    return Policies(
        {"name": entry["name"], "source": entry["source"], "policy": run.config.policy},
        [run.seeds[i] for i in chosen],
        run.config.seed,
        lambda: in_units(begin(states, jax.random.key(0)), run.dataset),
        Layouts.of_dataset(run.dataset),
    )


def of_file(exported: ExportedPolicy, layouts: Layouts) -> Policies:
    """The policy of a file, in an environment of these layouts."""

    def policy(observation: np.ndarray) -> np.ndarray:
        rows = observation.reshape(-1, observation.shape[-1])
        return exported.act(rows).reshape(*observation.shape[:-1], -1)

    facts = exported.facts
    named = {"name": facts.get("learner", exported.name)}
    named |= {name: facts.get(name, "") for name in ("source", "policy")}
    seed, run_seed = (int(facts.get(name, 0)) for name in ("seed", "run_seed"))
    return Policies(named, [seed], run_seed, lambda: policy, layouts)
