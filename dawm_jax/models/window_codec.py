"""Windows as the channels that are diffused, and back.

The channels of each step come in groups: observation (the state, or its change since the state
before or since the window's first; normalized), reward, and terminal (+1 in and after a terminal
state, -1 before).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.data.normalizer import NORMALIZERS, Normalizer, side_by_side
from dawm_jax.data.windows import WindowSet
from dawm_jax.types import Array, Context, Rollout, Window

GROUPS = ("observation", "reward", "terminal")
OBSERVATION_TARGETS = ("absolute", "displacement", "increment")
FIT_WINDOWS = 200_000
FIT_NUMBERS = 2**25  # of the windows' observations, held at once


class WindowCodec(struct.PyTreeNode):
    """The normalizers of a world model, and what they make of a window."""

    state: Normalizer  # of the current state, an input of the network (observation_dim,)
    target: Normalizer  # of the diffused observations: (observation_dim,) or (T, observation_dim)
    reward: Normalizer  # (1,)
    observation_target: str = struct.field(pytree_node=False)
    horizon: int = struct.field(pytree_node=False)

    @property
    def channels(self) -> dict[str, slice]:
        """Where each group lies among the C channels."""
        size = self.target.low.shape[-1]
        return {
            "observation": slice(0, size),
            "reward": slice(size, size + 1),
            "terminal": slice(size + 1, size + 2),
        }

    @property
    def width(self) -> int:
        """C, the number of channels."""
        return self.channels[GROUPS[-1]].stop

    def encode(self, window: Window) -> tuple[Array, Array]:
        """The window's channels (B, T, C) and which of them count in the loss, (B, T, C) bool.

        The first state is known, so it does not count; nor does the fill after a terminal state,
        but for the terminal channel.
        """
        target = to_target(window.observation, self.observation_target)
        terminal = jnp.where(window.terminal, 1.0, -1.0)[..., None]
        values = {
            "observation": self.target.normalize(target),
            "reward": self.reward.normalize(window.reward[..., None]),
            "terminal": terminal,
        }
        state_counts = window.observation_mask.at[:, 0].set(False)[..., None]
        counts = {
            "observation": jnp.broadcast_to(state_counts, target.shape),
            "reward": window.reward_mask[..., None],
            "terminal": jnp.ones_like(terminal, bool),
        }
        return _join(values), _join(counts)

    def pin(self, x: Array, context: Context) -> Array:
        """`x` (B, T, C) with the known state in its first step."""
        states = jnp.broadcast_to(
            context.observation[:, None], (*x.shape[:2], context.observation.shape[-1])
        )
        known = self.target.normalize(to_target(states, self.observation_target))[:, 0]
        return x.at[:, 0, self.channels["observation"]].set(known)

    @property
    def input_width(self) -> int:
        """The channels of `network_input`."""
        known = 0 if self.observation_target == "absolute" else self.state.low.shape[-1]
        return self.width + known

    def network_input(self, x: Array, context: Context) -> Array:
        """`x` with, where it holds changes only, the current state as extra channels."""
        if self.observation_target == "absolute":
            return x
        state = self.state.normalize(context.observation)[:, None]
        return jnp.concatenate([x, jnp.broadcast_to(state, (*x.shape[:2], state.shape[-1]))], -1)

    def clip(self, x0: Array) -> Array:
        """`x0` (B, T, C) within the range of the training data."""

        def bound(observation: Array, reward: Array, terminal: float) -> Array:
            edges: dict[str, Array | float]
            edges = {"observation": observation, "reward": reward, "terminal": terminal}
            sizes = {name: part.stop - part.start for name, part in self.channels.items()}
            rows = self.horizon
            return _join({k: jnp.broadcast_to(edge, (rows, sizes[k])) for k, edge in edges.items()})

        low = bound(self.target.low, self.reward.low, -1.0)
        high = bound(self.target.high, self.reward.high, 1.0)
        return jnp.clip(x0, low, high)

    def decode(self, x0: Array, context: Context) -> Rollout:
        """The window that the channels `x0` (B, T, C) stand for."""
        group = {name: x0[..., part] for name, part in self.channels.items()}
        target = self.target.unnormalize(group["observation"])
        observation = from_target(target, context.observation, self.observation_target)
        return Rollout(
            observation=observation.at[:, 0].set(context.observation),
            reward=self.reward.unnormalize(group["reward"])[..., 0],
            terminal=(group["terminal"][..., 0] > 0.0).at[:, 0].set(False),
        )


def to_target(observation: Array, observation_target: str) -> Array:
    """The states (B, T, observation_dim), or their changes as `observation_target` says."""
    match observation_target:
        case "displacement":
            return observation - observation[:, :1]
        case "increment":
            before = [observation[:, :1], observation[:, :-1]]
            return observation - jnp.concatenate(before, axis=1)
    return observation


def from_target(target: Array, first: Array, observation_target: str) -> Array:
    """The inverse of `to_target`, given the windows' first states (B, observation_dim)."""
    match observation_target:
        case "displacement":
            return target + first[:, None]
        case "increment":
            return jnp.cumsum(target.at[:, 0].set(first), axis=1)
    return target


def _join(groups: dict[str, Array]) -> Array:
    """The groups (..., size) side by side, in their order."""
    return jnp.concatenate([groups[name] for name in GROUPS], axis=-1)


def fit_codec(
    windows: WindowSet, observation_target: str, observation_normalizer: str, reward_normalizer: str
) -> WindowCodec:
    """A codec with statistics of (at most `FIT_WINDOWS` of) the windows.

    A displacement is normalized at each step of the window by itself: late ones are larger.
    Every feature is normalized by itself, so only some are cut at once, for the memory they take.
    """
    count = len(windows.starts)
    chosen = np.arange(count)
    if count > FIT_WINDOWS:
        chosen = np.sort(np.random.default_rng(0).choice(count, FIT_WINDOWS, replace=False))
    fit = NORMALIZERS[observation_normalizer]

    @jax.jit
    def cut(windows: WindowSet, rows: Array) -> tuple[Window, Array]:
        window = windows.at(rows)
        return window, to_target(window.observation, observation_target)

    at_once = max(1, FIT_NUMBERS // (len(chosen) * windows.horizon))
    states, targets = [], []
    for first in range(0, windows.episodes.observation.shape[-1], at_once):
        part = _features(windows, slice(first, first + at_once))
        window, target = jax.tree.map(np.asarray, cut(part, jnp.asarray(chosen)))
        seen = window.observation_mask.copy()  # the last states of episodes among them
        if observation_target == "increment":
            seen[:, 0] = False  # the first state is given
        states.append(fit(window.context.observation))
        targets.append(fit(target if observation_target == "displacement" else target[seen]))
    rewards = window.reward[window.reward_mask]
    return WindowCodec(
        state=side_by_side(states),
        target=side_by_side(targets),
        reward=NORMALIZERS[reward_normalizer](rewards[:, None]),
        observation_target=observation_target,
        horizon=windows.horizon,
    )


def _features(windows: WindowSet, part: slice) -> WindowSet:
    """The windows with only some features of the observations, and no actions."""
    episodes = windows.episodes
    return windows.replace(
        episodes=episodes.replace(
            observation=episodes.observation[:, part], action=episodes.action[:, :0]
        )
    )
