"""DAWM (Li et al. 2025): windows from a diffusion world model, actions by inverse dynamics."""

from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, cut_windows, to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import require
from dawm_jax.models.ensemble import DynamicsEnsemble
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.return_quantile import ReturnQuantile, ReturnRows
from dawm_jax.models.termination import TerminationModel
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.settings import CountOrZero, Dropout, Few, NotNegative, Share, check_settings
from dawm_jax.sources.base import ReturnTarget, RolloutSource, Starts, States, cut_rollouts
from dawm_jax.sources.consistency import disagreement
from dawm_jax.sources.fall_penalty import penalized
from dawm_jax.sources.multistep import drawn_horizons, summed
from dawm_jax.training.protocol import Data, Model
from dawm_jax.types import Array, Context, Dataset, Transition, Window

HORIZONS = 2**20  # a number of a draw that the sampler does not reach
MEASURED = 1_024  # units on which the limit of the filter is measured


@dataclass(frozen=True)
class DAWM(RolloutSource):
    """Windows of states and rewards, each generated as a whole from a recorded state and action.

    Later actions are inferred, unless the world model generates them (`diffused` has 'action').
    Ends are predicted by a termination model, unless the world model generates them ('terminal').
    The filter drops single transitions; those after them in the window stay. A transition that sums
    rewards is dropped with any of its steps, and with `return_steps` where the window is too short.

    Raises:
        UserError: a setting is out of range, two contradict each other, or sampling visits more
            times than the schedule has.
    """

    version: ClassVar[int] = 3

    world_model: WorldModel = field(default_factory=WorldModel)
    inverse_dynamics: InverseDynamics = field(default_factory=InverseDynamics)
    termination: TerminationModel = field(default_factory=TerminationModel)
    sampling: Sampling = field(default_factory=Sampling)
    target: ReturnTarget = field(default_factory=ReturnTarget)
    return_quantile: ReturnQuantile = field(default_factory=ReturnQuantile)  # of the target
    dynamics: DynamicsEnsemble = field(default_factory=DynamicsEnsemble)  # of the filter
    start_preference: NotNegative = 10.0  # for episodes of high return, see `favored`
    filter_share: Dropout = 0.0  # of the transitions, those that `dynamics` disagrees with most
    fall_penalty: NotNegative = 0.0  # see `penalized`
    return_steps: Few = 1  # rewards that a transition sums; see `multistep`
    return_lambda: Share | None = None  # of lambda-returns, which draw the number of rewards
    skip_truncated_tail: CountOrZero = 0  # last steps of truncated episodes; no window starts there

    def __post_init__(self) -> None:
        check_settings(self)
        self.world_model.process.grid(self.sampling.sampling_steps)
        require(
            "reward" in self.world_model.diffused,
            f"DAWM.world_model.diffused is {self.world_model.diffused}; transitions need rewards: "
            "add 'reward'",
        )
        require(
            self.return_steps <= self.steps,
            f"DAWM.return_steps is {self.return_steps}; a window has only {self.steps} transitions",
        )
        require(
            self.return_steps == 1 or self.return_lambda is None,
            f"DAWM.return_steps is {self.return_steps} and DAWM.return_lambda "
            f"{self.return_lambda}: set one",
        )

    def models(self) -> dict[str, Model]:
        models: dict[str, Model] = {
            "world_model": self.world_model,
            "inverse_dynamics": self.inverse_dynamics,
        }
        if not self._diffuses_ends:
            models["termination"] = self.termination
        if self.target.conditional:
            models["return_quantile"] = self.return_quantile
        if self.filter_share:
            models["dynamics"] = self.dynamics
        return models

    def data(self, name: str, dataset: Dataset) -> Data:
        match name:
            case "world_model":
                return self._windows(penalized(dataset, self.fall_penalty))
            case "termination":
                return self.termination.data(to_transitions(dataset))
            case "return_quantile":
                return ReturnRows.of(penalized(dataset, self.fall_penalty))
            case "dynamics":
                return self.dynamics.data(to_transitions(dataset))
        return TransitionSet(to_transitions(dataset))

    def start_rows(self, dataset: Dataset) -> np.ndarray:
        """Those of windows that can be cut, if these are the start; otherwise of all steps."""
        if not self._from_recorded:
            return super().start_rows(dataset)
        return np.asarray(self._windows(dataset).starts)

    def inputs(self, dataset: Dataset) -> Starts:
        return super().inputs(penalized(dataset, self.fall_penalty))

    def units(self, transitions: int) -> int:
        """Enough for `transitions` that the filter keeps and whose rewards are in the window."""
        in_window = self.steps - self.return_steps + 1
        return ceil(transitions / (in_window * (1.0 - self.filter_share)))

    def calibrate(self, states: States, inputs: Starts, key: Array) -> Starts:
        """The inputs with the limit of the filter, measured on the first `MEASURED` units."""
        if not self.filter_share:
            return inputs
        return inputs.replace(limit=_limit(self, states, inputs, key))

    def from_starts(
        self, states: States, inputs: Starts, number: Array, keys: Array
    ) -> tuple[Transition, Array]:
        context, window = self.context(states, inputs, number), None
        if self._from_recorded:
            rows = inputs.rows[number]
            window = cut_windows(inputs.episodes, rows, self.world_model.horizon, 1.0)
        transitions, valid = self.rollout(states, context, keys, inputs.discount, window)
        if self.filter_share:
            deviation = disagreement(self.dynamics, states["dynamics"], transitions)
            assert inputs.limit is not None
            valid &= deviation <= inputs.limit
        if self.sums_rewards:
            horizon = self._horizons(keys)
            transitions, valid = summed(transitions, valid, horizon, inputs.discount)
        return transitions, valid

    def context(self, states: States, inputs: Starts, number: Array) -> Context:
        context = inputs.context(number)
        if not self.target.conditional:
            return context
        quantile = self.return_quantile.predict(
            states["return_quantile"], context.observation, context.action
        )
        return context.replace(return_to_go=jnp.maximum(context.return_to_go, quantile))

    @property
    def sums_rewards(self) -> bool:
        """Whether a transition sums the rewards of several steps."""
        return self.return_steps > 1 or self.return_lambda is not None

    def _horizons(self, keys: Array) -> Array:
        """The number of rewards (B, n) that each transition sums."""
        if self.return_lambda is None:
            return jnp.full((len(keys), self.steps), self.return_steps)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, HORIZONS)
        return drawn_horizons(keys, self.steps, self.return_lambda)

    @property
    def steps(self) -> int:
        return self.world_model.horizon - 1

    def rollout(
        self,
        states: States,
        context: Context,
        keys: Array,
        discount: float | Array,
        recorded: Window | None = None,
    ) -> tuple[Transition, Array]:
        """See `RolloutSource.rollout`; from `recorded` windows, noised as `sampling.start` says."""
        state = states["world_model"]
        window = self.world_model.sample(state, context, keys, self.sampling, recorded)
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

    def _windows(self, dataset: Dataset) -> WindowSet:
        return WindowSet.of(dataset, self.world_model.horizon, self.skip_truncated_tail)

    @property
    def _from_recorded(self) -> bool:
        return self.sampling.start < 1.0

    @property
    def _diffuses_ends(self) -> bool:
        return "terminal" in self.world_model.diffused


@partial(jax.jit, static_argnames="source")
def _limit(source: DAWM, states: States, inputs: Starts, key: Array) -> Array:
    """The largest deviation () that the filter keeps, of the first units."""
    unfiltered = replace(source, filter_share=0.0, return_steps=1, return_lambda=None)
    transitions, valid = unfiltered.generate(states, inputs, jnp.arange(MEASURED), key)
    deviation = disagreement(source.dynamics, states["dynamics"], transitions)
    return jnp.nanquantile(jnp.where(valid, deviation, jnp.nan), 1.0 - source.filter_share)
