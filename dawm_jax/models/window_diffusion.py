"""DAWM's world model: diffusion over windows of states and rewards (Li et al. 2025).

Network, guidance and return-to-go conditioning are those of DWM (Ding et al. 2024).
"""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.tree_util import Partial

from dawm_jax.data.normalizer import NORMALIZERS
from dawm_jax.data.windows import WindowSet
from dawm_jax.diffusion.guidance import condition_kept, guided
from dawm_jax.diffusion.objective import PARAMETERIZATIONS, add_noise
from dawm_jax.diffusion.samplers import Sampling, sample
from dawm_jax.diffusion.schedule import cosine_signal_rate, visited_steps
from dawm_jax.errors import require, require_choice
from dawm_jax.models.window_codec import OBSERVATION_TARGETS, WindowCodec, fit_codec
from dawm_jax.networks.temporal_unet import TemporalUNet
from dawm_jax.settings import (
    Count,
    CountOrZero,
    Dropout,
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
class WorldModel(ModelSettings):
    """The settings of a world model and the pure functions they define.

    The defaults are small enough for a CPU. They predict the clean change from each state to the
    next, rather than the noise of states, which fits dynamics in a hundredth of the updates.

    Raises:
        UserError: a setting is out of range or names an unknown choice.
    """

    horizon: Few = 8  # T, states in a window
    observation_target: str = "increment"
    observation_normalizer: str = "standard"
    reward_normalizer: str = "standard"
    width: Width = 32
    multipliers: tuple[Width, ...] = (1, 2, 4)
    parameterization: str = "x0"
    diffusion_steps: Few = 5  # K
    condition_dropout: Dropout = 0.25
    compute_dtype: str = "float32"  # of the network's inside; parameters are float32
    ema_decay: Share = 0.99
    ema_every: Count = 10
    ema_start: CountOrZero = 1_000  # until this step the average is the parameters themselves

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.multipliers), "WorldModel.multipliers is empty; name one for each level")
        require(
            self.ema_every <= self.steps,
            f"WorldModel.ema_every is {self.ema_every}; it must not exceed steps, {self.steps}",
        )
        widest = self.width * max(self.multipliers)
        check_value("WorldModel.width times its largest multiplier", widest, Width)
        halvings = 2 ** (len(self.multipliers) - 1)
        require(
            self.horizon > 1 and self.horizon % halvings == 0,
            f"WorldModel.horizon is {self.horizon}; {len(self.multipliers)} levels of the network "
            f"need a multiple of {halvings} above 1",
        )
        require(
            self.width % 8 == 0,
            f"WorldModel.width is {self.width}; group norm needs a multiple of 8",
        )
        require_choice("compute_dtype", self.compute_dtype, COMPUTE_DTYPES)
        require_choice("observation_target", self.observation_target, OBSERVATION_TARGETS)
        require_choice("observation_normalizer", self.observation_normalizer, NORMALIZERS)
        require_choice("reward_normalizer", self.reward_normalizer, NORMALIZERS)
        require_choice("parameterization", self.parameterization, PARAMETERIZATIONS)
        require(
            self.observation_target == "absolute" or self.observation_normalizer != "quantile",
            "WorldModel.observation_normalizer 'quantile' is for absolute states; use 'standard' "
            "or 'minmax' for changes",
        )

    def new(self, key: Array, windows: WindowSet) -> Partial:
        """What makes the state of a new model; its normalizers are fitted to `windows` at once."""
        codec = fit_codec(
            windows, self.observation_target, self.observation_normalizer, self.reward_normalizer
        )
        return Partial(self._new, key, codec, windows.episodes.action[:1])

    def _new(self, key: Array, codec: WindowCodec, action: Array) -> ModelState:
        inputs = jnp.ones((1, self.horizon, codec.input_width))
        one, seen = jnp.ones(1), jnp.ones(1, bool)
        network = self._network(codec.width)
        params, opt_state = self._untrained(network, key, inputs, one, one, seen, action)
        return ModelState(
            step=jnp.int32(0),
            params=params,
            ema_params=params,
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
        """Squared error of the prediction (Ho et al. 2020, eq. 14), over the entries that count."""
        step_key, noise_key, keep_key = jax.random.split(key, 3)
        x0, mask = codec.encode(window)
        step = jax.random.randint(step_key, (len(x0),), 1, self.diffusion_steps + 1)
        rate = jnp.asarray(self._signal_rate, jnp.float32)[step][:, None, None]
        noise = jax.random.normal(noise_key, x0.shape)
        keep = condition_kept(keep_key, len(x0), self.condition_dropout)
        x = add_noise(x0, noise, rate)
        prediction = self._predict(params, codec, x, step, keep, window.context)
        target = PARAMETERIZATIONS[self.parameterization].target(x0, noise, rate)
        chex.assert_equal_shape([prediction, target, mask])
        return jnp.sum(mask * (prediction - target) ** 2) / jnp.sum(mask)

    def sample(
        self,
        state: ModelState,
        context: Context,
        keys: Array,
        sampling: Sampling = DEFAULT_SAMPLING,
    ) -> Rollout:
        """Imagines one window from each context.

        Args:
            context: B contexts.
            keys: (B,) one key a window, so that it does not depend on its batch.

        Raises:
            UserError: more steps are to be visited than there are.
        """
        codec = state.codec
        to_x0 = PARAMETERIZATIONS[self.parameterization].to_x0

        def estimate_x0(x: Array, step: Array, rate: Array) -> Array:
            def predict(x: Array, keep: Array) -> Array:
                copies = len(x) // len(keys)
                seen = jax.tree.map(lambda leaf: jnp.repeat(leaf, copies, axis=0), context)
                steps = jnp.full(len(x), step)
                return self._predict(state.ema_params, codec, x, steps, keep, seen)

            return codec.clip(to_x0(guided(predict, sampling.guidance_scale)(x), x, rate))

        def noise(draw: Array) -> Array:
            draw_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, draw)
            shape = (self.horizon, codec.width)
            return jax.vmap(lambda key: jax.random.normal(key, shape))(draw_keys)

        visited = visited_steps(self.diffusion_steps, sampling.sampling_steps)
        x0 = sample(
            estimate_x0, noise, self._signal_rate, visited, sampling.sampler, sampling.temperature
        )
        return codec.decode(x0, context)

    def _predict(
        self,
        params: optax.Params,
        codec: WindowCodec,
        x: Array,
        step: Array,
        keep: Array,
        context: Context,
    ) -> Array:
        """The network's output for the noised `x` (B, T, C), its known state held fixed."""
        inputs = codec.network_input(codec.pin(x, context), context)
        return self._network(x.shape[-1]).apply(
            params, inputs, step, context.return_to_go, keep, context.action
        )

    @property
    def _signal_rate(self) -> np.ndarray:
        return cosine_signal_rate(self.diffusion_steps)

    def _network(self, channels: int) -> TemporalUNet:
        return TemporalUNet(
            channels, self.width, self.multipliers, dtype=jnp.dtype(self.compute_dtype)
        )
