"""Windows as the channels that are diffused, and back.

Channels of each step: observation (normalized state, or its scaled change since the window's
first), reward, and terminal (+1 in and after a terminal state, -1 before).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.data.normalizer import NORMALIZERS, Normalizer
from dawm_jax.data.windows import WindowSet
from dawm_jax.types import Array, Context, Rollout, Window

OBSERVATION_TARGETS = ("absolute", "change")
FIT_WINDOWS = 200_000


class WindowCodec(struct.PyTreeNode):
    """The normalizers of a world model, and what they make of a window."""

    state: Normalizer  # of the current state, an input of the network (observation_dim,)
    target: Normalizer  # of the diffused observations: (observation_dim,) or (T, observation_dim)
    reward: Normalizer  # (1,)
    change: bool = struct.field(pytree_node=False)
    horizon: int = struct.field(pytree_node=False)

    def encode(self, window: Window) -> tuple[Array, Array]:
        """The window's channels (B, T, C) and which of them count in the loss, (B, T, C) bool.

        The first state is known, so it does not count; nor does the fill after a terminal state,
        but for the terminal channel.
        """
        target = window.observation
        if self.change:
            target = target - window.context.observation[:, None]
        terminal = jnp.where(window.terminal, 1.0, -1.0)[..., None]
        reward = self.reward.normalize(window.reward[..., None])
        x0 = jnp.concatenate([self.target.normalize(target), reward, terminal], axis=-1)
        state_counts = window.observation_mask.at[:, 0].set(False)[..., None]
        mask = jnp.concatenate(
            [
                jnp.broadcast_to(state_counts, target.shape),
                window.reward_mask[..., None],
                jnp.ones_like(terminal, bool),
            ],
            axis=-1,
        )
        return x0, mask

    def pin(self, x: Array, context: Context) -> Array:
        """`x` (B, T, C) with the known state in its first step."""
        known = self._known(context)
        return x.at[:, 0, : known.shape[-1]].set(known)

    def network_input(self, x: Array, context: Context) -> Array:
        """`x` with, where it holds changes only, the current state as extra channels."""
        if not self.change:
            return x
        state = self.state.normalize(context.observation)[:, None]
        return jnp.concatenate([x, jnp.broadcast_to(state, (*x.shape[:2], state.shape[-1]))], -1)

    def clip(self, x0: Array) -> Array:
        """`x0` (B, T, C) within the range of the training data."""
        observations = x0.shape[-1] - 2
        low, high = (
            jnp.concatenate(
                [
                    jnp.broadcast_to(target, (self.horizon, observations)),
                    jnp.broadcast_to(reward, (self.horizon, 1)),
                    jnp.full((self.horizon, 1), edge),
                ],
                axis=-1,
            )
            for target, reward, edge in (
                (self.target.low, self.reward.low, -1.0),
                (self.target.high, self.reward.high, 1.0),
            )
        )
        return jnp.clip(x0, low, high)

    def decode(self, x0: Array, context: Context) -> Rollout:
        """The window that the channels `x0` (B, T, C) stand for."""
        target, reward, terminal = jnp.split(x0, [x0.shape[-1] - 2, x0.shape[-1] - 1], axis=-1)
        observation = self.target.unnormalize(target)
        if self.change:
            observation = observation + context.observation[:, None]
        return Rollout(
            observation=observation.at[:, 0].set(context.observation),
            reward=self.reward.unnormalize(reward)[..., 0],
            terminal=(terminal[..., 0] > 0.0).at[:, 0].set(False),
        )

    def _known(self, context: Context) -> Array:
        if not self.change:
            return self.target.normalize(context.observation)
        no_change = jnp.zeros((len(context.observation), 1, context.observation.shape[-1]))
        return self.target.normalize(no_change)[:, 0]


def fit_codec(
    windows: WindowSet, observation_target: str, observation_normalizer: str, reward_normalizer: str
) -> WindowCodec:
    """A codec with statistics of (at most `FIT_WINDOWS` of) the windows.

    A change of state is normalized at each step of the window by itself: late changes are larger.
    """
    count = len(windows.starts)
    chosen = np.arange(count)
    if count > FIT_WINDOWS:
        chosen = np.sort(np.random.default_rng(0).choice(count, FIT_WINDOWS, replace=False))
    window = jax.jit(WindowSet.at)(windows, jnp.asarray(chosen))
    fit = NORMALIZERS[observation_normalizer]
    observation = np.asarray(window.observation)
    change = observation_target == "change"
    seen = np.asarray(window.observation_mask)  # the last states of episodes among them
    target = fit(observation - observation[:, :1] if change else observation[seen])
    rewards = np.asarray(window.reward)[np.asarray(window.reward_mask)]
    reward = NORMALIZERS[reward_normalizer](rewards[:, None])
    return WindowCodec(fit(observation[:, 0]), target, reward, change, windows.horizon)
