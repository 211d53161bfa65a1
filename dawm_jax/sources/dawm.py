"""DAWM (Li et al. 2025): windows from a diffusion world model, actions by inverse dynamics."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import jax.numpy as jnp

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import require
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.termination import TerminationModel
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.settings import CountOrZero, NotNegative, check_settings
from dawm_jax.sources.base import ReturnTarget, RolloutSource, Starts, States, cut_rollouts
from dawm_jax.training.protocol import Data, Model
from dawm_jax.types import Array, Context, Dataset, Transition


@dataclass(frozen=True)
class DAWM(RolloutSource):
    """Windows of states and rewards, each generated as a whole from a recorded state and action.

    Later actions are inferred, unless the world model generates them (`diffused` has 'action').
    Ends are predicted by a termination model, unless the world model generates them ('terminal').

    Raises:
        UserError: a setting is out of range, or sampling visits more times than the schedule has.
    """

    version: ClassVar[int] = 2

    world_model: WorldModel = field(default_factory=WorldModel)
    inverse_dynamics: InverseDynamics = field(default_factory=InverseDynamics)
    termination: TerminationModel = field(default_factory=TerminationModel)
    sampling: Sampling = field(default_factory=Sampling)
    target: ReturnTarget = field(default_factory=ReturnTarget)
    fall_penalty: NotNegative = 0.0  # see `penalized`
    skip_truncated_tail: CountOrZero = 0  # last steps of truncated episodes; no window starts there

    def __post_init__(self) -> None:
        check_settings(self)
        self.world_model.process.grid(self.sampling.sampling_steps)
        require(
            "reward" in self.world_model.diffused,
            f"DAWM.world_model.diffused is {self.world_model.diffused}; transitions need rewards: "
            "add 'reward'",
        )

    def models(self) -> dict[str, Model]:
        models: dict[str, Model] = {
            "world_model": self.world_model,
            "inverse_dynamics": self.inverse_dynamics,
        }
        return models if self._diffuses_ends else {**models, "termination": self.termination}

    def data(self, name: str, dataset: Dataset) -> Data:
        match name:
            case "world_model":
                dataset = penalized(dataset, self.fall_penalty)
                return WindowSet.of(dataset, self.world_model.horizon, self.skip_truncated_tail)
            case "termination":
                return self.termination.data(to_transitions(dataset))
        return TransitionSet(to_transitions(dataset))

    def inputs(self, dataset: Dataset) -> Starts:
        return super().inputs(penalized(dataset, self.fall_penalty))

    @property
    def steps(self) -> int:
        return self.world_model.horizon - 1

    def rollout(
        self, states: States, context: Context, keys: Array, discount: float | Array
    ) -> tuple[Transition, Array]:
        window = self.world_model.sample(states["world_model"], context, keys, self.sampling)
        assert window.reward is not None
        before, after = window.observation[:, :-1], window.observation[:, 1:]
        known = context.action[:, None] if window.action is None else window.action
        known = known[:, : self.steps]
        action = self.infer_action(states, before, after).at[:, : known.shape[1]].set(known)
        terminal = window.terminal[:, 1:]
        if not self._diffuses_ends:
            terminal = self.termination.terminal(states["termination"], after)
        return cut_rollouts(
            window.observation, action, window.reward[:, :-1], action[:, 1:], terminal, discount
        )

    def infer_action(self, states: States, observation: Array, next_observation: Array) -> Array:
        """Actions (..., action_dim) between states (..., observation_dim)."""
        state = states["inverse_dynamics"]
        return self.inverse_dynamics.predict(state, observation, next_observation)

    @property
    def _diffuses_ends(self) -> bool:
        return "terminal" in self.world_model.diffused


def penalized(dataset: Dataset, penalty: float) -> Dataset:
    """The data set with the return-to-go that it would have if falls cost `penalty`.

    As if the last reward of each episode that ends in a terminal state were lower by `penalty`
    (Decision Diffuser, Ajay et al. 2022: 100); the rewards themselves stay.
    """
    if penalty == 0.0:
        return dataset
    episodes = dataset.episodes
    before = episodes.terminated & (episodes.steps_left > 0)
    cost = penalty * dataset.discount ** (episodes.steps_left - 1)
    to_go = episodes.return_to_go - jnp.where(before, cost, 0.0)
    return replace(dataset, episodes=episodes.replace(return_to_go=to_go))
