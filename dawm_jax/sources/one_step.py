"""Short rollouts of one-step models from recorded states, as in MOPO (Yu et al. 2020).

MOPO trains its policy on rollouts under that policy. A source does not depend on a learner, so
these rollouts follow a clone of the policy that recorded the data.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.models.behavior import BehaviorPolicy
from dawm_jax.models.ensemble import DynamicsEnsemble
from dawm_jax.models.termination import TerminationModel
from dawm_jax.settings import Few, NotNegative, check_settings
from dawm_jax.sources.base import RolloutSource, States, cut_rollouts
from dawm_jax.training.protocol import Data, Model
from dawm_jax.types import Array, Context, Dataset, Transition


@dataclass(frozen=True)
class OneStep(RolloutSource):
    """Rollouts of a few steps, each step drawn from a random elite of an ensemble.

    Every action, including the first, is drawn from the cloned policy: a rollout uses the
    observation of its context, but neither its action nor its return-to-go.

    A rollout's rewards are lowered by `penalty` times the largest norm, over the elites, of their
    standard deviation, in the data's units (`DynamicsEnsemble.sample`); 0 leaves them unchanged.
    The defaults, 5 steps and penalty 1, are those of MOPO's code for most D4RL data sets, and for
    Hopper and HalfCheetah medium-replay.

    Raises:
        UserError: a setting is out of range.
    """

    version: ClassVar[int] = 2

    dynamics: DynamicsEnsemble = field(default_factory=DynamicsEnsemble)
    behavior: BehaviorPolicy = field(default_factory=BehaviorPolicy)
    termination: TerminationModel = field(default_factory=TerminationModel)
    rollout_steps: Few = 5
    penalty: NotNegative = 1.0

    def __post_init__(self) -> None:
        check_settings(self)

    def models(self) -> dict[str, Model]:
        return {
            "dynamics": self.dynamics,
            "behavior": self.behavior,
            "termination": self.termination,
        }

    def data(self, name: str, dataset: Dataset) -> Data:
        transitions = to_transitions(dataset)
        match name:
            case "dynamics":
                return self.dynamics.data(transitions)
            case "termination":
                return self.termination.data(transitions)
        return TransitionSet(transitions)

    @property
    def steps(self) -> int:
        return self.rollout_steps

    def rollout(
        self, states: States, context: Context, keys: Array, discount: float | Array
    ) -> tuple[Transition, Array]:
        """A rollout from each context's observation; see `RolloutSource.rollout`.

        The next action of a rollout's last transition is drawn, too, so that it is known except
        in a terminal state.
        """
        elites, behavior = self.dynamics.elite(states["dynamics"]), states["behavior"]

        def one_step(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Steps]:
            observation, action = carry
            step_key, action_key = jax.random.split(key)
            next_observation, reward, deviation = self.dynamics.sample(
                elites, observation, action, step_key
            )
            next_action = self.behavior.sample(behavior, next_observation, action_key)
            reward = reward - self.penalty * deviation
            predicted = (action, reward, next_observation, next_action)
            return (next_observation, next_action), predicted

        def one_rollout(observation: Array, key: Array) -> Steps:
            action_key, steps_key = jax.random.split(key)
            start = (observation, self.behavior.sample(behavior, observation, action_key))
            return jax.lax.scan(one_step, start, jax.random.split(steps_key, self.steps))[1]

        action, reward, following, next_action = jax.vmap(one_rollout)(context.observation, keys)
        observation = jnp.concatenate([context.observation[:, None], following], axis=1)
        terminal = self.termination.terminal(states["termination"], following)
        return cut_rollouts(observation, action, reward, next_action, terminal, discount)


Steps = tuple[Array, Array, Array, Array]  # the predicted fields of a rollout
