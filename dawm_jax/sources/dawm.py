"""DAWM (Li et al. 2025): windows from a diffusion world model, actions by inverse dynamics."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import require
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.settings import CountOrZero, check_settings
from dawm_jax.sources.base import ReturnTarget, RolloutSource, States
from dawm_jax.training.loop import Data, Model
from dawm_jax.types import Array, Context, Dataset, Rollout, Transition


@dataclass(frozen=True)
class DAWM(RolloutSource):
    """Windows of states and rewards, each generated as a whole from a recorded state and action.

    Later actions are inferred, unless the world model generates them (`diffused` has 'action').

    Raises:
        UserError: a setting is out of range, or sampling visits more times than the schedule has.
    """

    version: ClassVar[int] = 1

    world_model: WorldModel = field(default_factory=WorldModel)
    inverse_dynamics: InverseDynamics = field(default_factory=InverseDynamics)
    sampling: Sampling = field(default_factory=Sampling)
    target: ReturnTarget = field(default_factory=ReturnTarget)
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
        return {"world_model": self.world_model, "inverse_dynamics": self.inverse_dynamics}

    def data(self, name: str, dataset: Dataset) -> Data:
        if name == "world_model":
            return WindowSet.of(dataset, self.world_model.horizon, self.skip_truncated_tail)
        return TransitionSet(to_transitions(dataset))

    @property
    def steps(self) -> int:
        return self.world_model.horizon - 1

    def rollout(
        self, states: States, context: Context, keys: Array, discount: float | Array
    ) -> tuple[Transition, Array]:
        window = self.world_model.sample(states["world_model"], context, keys, self.sampling)
        action = self.infer_action(states, window.observation[:, :-1], window.observation[:, 1:])
        known = context.action[:, None] if window.action is None else window.action
        known = known[:, : self.steps]
        return window_transitions(window, action.at[:, : known.shape[1]].set(known), discount)

    def infer_action(self, states: States, observation: Array, next_observation: Array) -> Array:
        """Actions (..., action_dim) between states (..., observation_dim)."""
        state = states["inverse_dynamics"]
        return self.inverse_dynamics.predict(state, observation, next_observation)


def window_transitions(
    window: Rollout, action: Array, discount: float | Array
) -> tuple[Transition, Array]:
    """Cuts B windows of T states into T - 1 transitions each.

    Args:
        action: (B, T - 1, action_dim) the actions between the states.

    Returns:
        Transitions with arrays (B, T - 1, ...), and whether each is valid, (B, T - 1) bool: True up
        to a terminal state. The next action of the last transition is unknown.
    """
    assert window.reward is not None
    terminal = window.terminal[:, 1:]
    ended = jnp.cumsum(window.terminal[:, :-1], axis=1) > 0
    last = jnp.arange(terminal.shape[1]) == terminal.shape[1] - 1
    follows = ~(terminal | last)
    transitions = Transition(
        observation=window.observation[:, :-1],
        action=action,
        reward=window.reward[:, :-1],
        discount=jnp.where(terminal, 0.0, discount).astype(jnp.float32),
        next_observation=window.observation[:, 1:],
        next_action=jnp.where(follows[..., None], jnp.roll(action, -1, axis=1), 0.0),
        next_action_mask=follows,
        recorded=jnp.zeros(terminal.shape, bool),
    )
    return transitions, ~ended
