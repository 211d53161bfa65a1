"""DAWM's world model: diffusion over windows of states and rewards (Li et al. 2025).

The network, the guidance and the return-to-go conditioning are those of DWM (Ding et al. 2024).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dawm_jax.data.normalizer import NORMALIZERS
from dawm_jax.data.windows import WindowSet
from dawm_jax.diffusion.denoiser import Diffusion, Predict, denoise, denoising_loss
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import require, require_choice
from dawm_jax.models.window_codec import (
    DIFFUSED,
    GIVEN,
    OBSERVATION_TARGETS,
    WindowCodec,
    check_groups,
    fit_codec,
)
from dawm_jax.networks.temporal_unet import TemporalUNet
from dawm_jax.settings import (
    Count,
    CountOrZero,
    Few,
    Share,
    Width,
    check_value,
)
from dawm_jax.training.optimizer import ModelSettings, gradient_step
from dawm_jax.training.pytree import norm
from dawm_jax.types import Array, Context, Rollout, Window

DEFAULT_SAMPLING = Sampling()
COMPUTE_DTYPES = ("float32", "bfloat16")


class ModelState(struct.PyTreeNode):
    """A world model in training: all that sampling and resuming need."""

    step: Array  # () int32
    params: optax.Params
    ema_params: optax.Params
    opt_state: optax.OptState
    codec: WindowCodec


@dataclass(frozen=True)
class WorldModel(ModelSettings, Diffusion):
    """The settings of a world model and the pure functions they define.

    The defaults are small enough for a CPU. They predict the clean change from each state to the
    next instead of the noise of states, which fits dynamics in a hundredth of the updates.
    `diffused` and `given` name groups of channels; see `window_codec`.

    Raises:
        UserError: a setting is out of range or names an unknown choice.
    """

    version = 1

    horizon: Few = 8  # T, states in a window
    diffused: tuple[str, ...] = DIFFUSED
    given: tuple[str, ...] = GIVEN
    observation_target: str = "increment"
    observation_normalizer: str = "standard"
    reward_normalizer: str = "standard"
    width: Width = 32
    multipliers: tuple[Width, ...] = (1, 2, 4)
    compute_dtype: str = "float32"  # inside the network; parameters are float32
    ema_decay: Share = 0.99
    ema_every: Count = 10
    ema_start: CountOrZero = 1_000  # up to this step, the average equals the parameters

    def __post_init__(self) -> None:
        ModelSettings.__post_init__(self)
        Diffusion.__post_init__(self)
        check_groups(self.diffused, self.given)
        require(bool(self.multipliers), "WorldModel.multipliers is empty; give one for each level")
        require(
            self.ema_every <= self.steps,
            f"WorldModel.ema_every is {self.ema_every}; it must not exceed steps, {self.steps}",
        )
        widest = self.width * max(self.multipliers)
        check_value("WorldModel.width times its largest multiplier", widest, Width)
        halvings = 2 ** (len(self.multipliers) - 1)
        require(
            self.horizon > 1 and self.horizon % halvings == 0,
            f"WorldModel.horizon is {self.horizon}; with {len(self.multipliers)} levels of the "
            f"network it must be a multiple of {halvings} above 1",
        )
        require(
            self.width % 8 == 0,
            f"WorldModel.width is {self.width}; it must be a multiple of 8, for group norm",
        )
        require_choice("compute_dtype", self.compute_dtype, COMPUTE_DTYPES)
        require_choice("observation_target", self.observation_target, OBSERVATION_TARGETS)
        require_choice("observation_normalizer", self.observation_normalizer, NORMALIZERS)
        require_choice("reward_normalizer", self.reward_normalizer, NORMALIZERS)
        require(
            self.observation_target == "absolute" or self.observation_normalizer != "quantile",
            "WorldModel.observation_normalizer 'quantile' is for observation_target 'absolute'; "
            f"use 'standard' or 'minmax' for '{self.observation_target}'",
        )

    def init(self, key: Array, windows: WindowSet) -> ModelState:
        """An initial state, with normalizers fitted to `windows`."""
        codec = fit_codec(
            windows,
            self.observation_target,
            self.observation_normalizer,
            self.reward_normalizer,
            self.diffused,
            self.given,
        )
        inputs = jnp.ones((1, self.horizon, codec.input_width))
        one, seen = jnp.ones(1), jnp.ones(1, bool)
        params, opt_state = self._initialize(
            self._network(codec.width), key, inputs, one, one, seen, windows.episodes.action[:1]
        )
        return ModelState(
            step=jnp.int32(0),
            params=params,
            ema_params=jax.tree.map(jnp.copy, params),
            opt_state=opt_state,
            codec=codec,
        )

    def update(
        self, state: ModelState, window: Window, key: Array
    ) -> tuple[ModelState, dict[str, Array]]:
        """One gradient step on a batch of windows."""
        params, opt_state, loss, gradient = gradient_step(
            self._optimizer, self.loss, state.params, state.opt_state, state.codec, window, key
        )
        step = state.step + 1
        rate = jnp.where(step <= self.ema_start, 1.0, 1.0 - self.ema_decay)
        ema_params = jax.lax.cond(
            step % self.ema_every == 0,
            lambda: optax.incremental_update(params, state.ema_params, rate),
            lambda: state.ema_params,
        )
        state = state.replace(step=step, params=params, ema_params=ema_params, opt_state=opt_state)
        return state, {"loss": loss, "gradient_norm": norm(gradient)}

    def loss(self, params: optax.Params, codec: WindowCodec, window: Window, key: Array) -> Array:
        """The denoising loss of a batch of windows, over the entries in the codec's mask."""
        x0, mask = codec.encode(window)
        predict = self._predict(params, codec, window.context)
        return denoising_loss(self, predict, x0, mask, key)

    def sample(
        self,
        state: ModelState,
        context: Context,
        keys: Array,
        sampling: Sampling = DEFAULT_SAMPLING,
        recorded: Window | None = None,
    ) -> Rollout:
        """Generates one window from each context.

        Args:
            context: B contexts.
            keys: (B,) one key per window, so that a window does not depend on its batch.
            recorded: the B windows that `sampling.start` is about; without, from pure noise.

        Raises:
            UserError: `sampling` visits more times than the schedule has.
        """
        codec = state.codec
        predict = self._predict(state.ema_params, codec, context)
        shape = (self.horizon, codec.width)
        start = None if recorded is None else codec.encode(recorded)[0]
        x0 = denoise(self, predict, codec.clip, keys, shape, sampling, start)
        return codec.decode(x0, context)

    def _predict(self, params: optax.Params, codec: WindowCodec, context: Context) -> Predict:
        """The network as a function of noised windows, whose given entries are held fixed."""
        network, action = self._network(codec.width), codec.embedded_action(context)

        def predict(x: Array, clock: Array, keep: Array) -> Array:
            inputs = codec.network_input(codec.pin(x, context), context)
            return network.apply(params, inputs, clock, context.return_to_go, keep, action)

        return predict

    def _network(self, channels: int) -> TemporalUNet:
        return TemporalUNet(
            channels, self.width, self.multipliers, dtype=jnp.dtype(self.compute_dtype)
        )
