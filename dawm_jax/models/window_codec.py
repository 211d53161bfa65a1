"""Encodes windows as the channels that are diffused, and decodes them.

The channels of each step come in groups: observation (the state, or its change since the previous
state or since the window's first; normalized), action, reward (normalized), and terminal (+1 in
and after a terminal state, -1 before). Diffused groups are generated. For given groups, the context
holds the entry of the window's first step, which the network sees and with which every sample
starts. A group that is neither is absent.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dawm_jax.data.normalizer import NORMALIZERS, Normalizer, concatenate
from dawm_jax.data.windows import WindowSet
from dawm_jax.errors import require, require_choice
from dawm_jax.types import Array, Context, Rollout, Window

GROUPS = ("observation", "action", "reward", "terminal")  # in the order of their channels
GIVABLE = ("observation", "action")  # the groups that a context holds
# The groups of DAWM (Li et al. 2025). The joint model also diffuses the action; Decision Diffuser
# (Ajay et al. 2022) diffuses and is given the observation alone.
DIFFUSED = ("observation", "reward")
GIVEN = ("observation", "action")
OBSERVATION_TARGETS = ("absolute", "displacement", "increment")
FIT_WINDOWS = 200_000  # windows to which normalizers are fitted, at most
FIT_NUMBERS = 2**25  # numbers of their observations held in memory at once


class WindowCodec(struct.PyTreeNode):
    """The normalizers of a world model, and the maps between windows and channels."""

    state: Normalizer  # of the current state (observation_dim,), an input of the network
    target: Normalizer  # of the diffused observations: (observation_dim,) or (T, observation_dim)
    reward: Normalizer  # (1,)
    observation_target: str = struct.field(pytree_node=False)
    horizon: int = struct.field(pytree_node=False)
    action_dim: int = struct.field(pytree_node=False)
    diffused: tuple[str, ...] = struct.field(pytree_node=False)
    given: tuple[str, ...] = struct.field(pytree_node=False)

    @property
    def channels(self) -> dict[str, slice]:
        """Where each diffused group lies among the C channels."""
        sizes = {
            "observation": self.target.low.shape[-1],
            "action": self.action_dim,
            "reward": 1,
            "terminal": 1,
        }
        names = [name for name in GROUPS if name in self.diffused]
        stops = np.cumsum([sizes[name] for name in names]).tolist()
        return {n: slice(stop - sizes[n], stop) for n, stop in zip(names, stops, strict=True)}

    @property
    def width(self) -> int:
        """C, the number of channels."""
        return max(part.stop for part in self.channels.values())

    def encode(self, window: Window) -> tuple[Array, Array]:
        """The window's channels (B, T, C) and the mask of the loss (B, T, C) bool.

        The mask is False for first entries that are given and, except in the terminal channel, for
        the repeats of a terminal state.
        """
        target = to_target(window.observation, self.observation_target)
        terminal = jnp.where(window.terminal, 1.0, -1.0)[..., None]
        values = {
            "observation": self.target.normalize(target),
            "action": window.action,
            "reward": self.reward.normalize(window.reward[..., None]),
            "terminal": terminal,
        }
        masks = {
            "observation": window.observation_mask,
            "action": window.reward_mask,
            "reward": window.reward_mask,
            "terminal": jnp.ones_like(window.terminal),
        }
        for name in self.given:
            masks[name] = masks[name].at[:, 0].set(False)
        mask = {k: jnp.broadcast_to(masks[k][..., None], values[k].shape) for k in GROUPS}
        return self._join(values), self._join(mask)

    def pin(self, x: Array, context: Context) -> Array:
        """`x` (B, T, C) with the given entries set in its first step."""
        states = jnp.broadcast_to(
            context.observation[:, None], (*x.shape[:2], context.observation.shape[-1])
        )
        known = {
            "observation": self.target.normalize(to_target(states, self.observation_target))[:, 0],
            "action": context.action,
        }
        for name, part in self.channels.items():
            if name in self.given:
                x = x.at[:, 0, part].set(known[name])
        return x

    @property
    def input_width(self) -> int:
        """The channels of `network_input`."""
        known = 0 if self.observation_target == "absolute" else self.state.low.shape[-1]
        return self.width + known

    def network_input(self, x: Array, context: Context) -> Array:
        """`x`, with the current state as extra channels if it holds changes of state."""
        if self.observation_target == "absolute":
            return x
        state = self.state.normalize(context.observation)[:, None]
        return jnp.concatenate([x, jnp.broadcast_to(state, (*x.shape[:2], state.shape[-1]))], -1)

    def embedded_action(self, context: Context) -> Array:
        """The first action (B, action_dim) if the network sees it beside `x`; otherwise zeros."""
        seen = "action" in self.given and "action" not in self.diffused
        return context.action if seen else jnp.zeros_like(context.action)

    def clip(self, x0: Array) -> Array:
        """`x0` (B, T, C) clipped to the range of the training data."""

        def bound(observation: Array, reward: Array, end: float) -> Array:
            edges: dict[str, Array | float] = {
                "observation": observation,
                "action": end,
                "reward": reward,
                "terminal": end,
            }
            sizes = {name: part.stop - part.start for name, part in self.channels.items()}
            shapes = {name: (self.horizon, size) for name, size in sizes.items()}
            return self._join({k: jnp.broadcast_to(edges[k], shape) for k, shape in shapes.items()})

        low = bound(self.target.low, self.reward.low, -1.0)
        high = bound(self.target.high, self.reward.high, 1.0)
        return jnp.clip(x0, low, high)

    def decode(self, x0: Array, context: Context) -> Rollout:
        """The window that the channels `x0` (B, T, C) encode."""
        group = {name: x0[..., part] for name, part in self.channels.items()}
        target = self.target.unnormalize(group["observation"])
        observation = from_target(target, context.observation, self.observation_target)
        terminal = jnp.zeros(x0.shape[:2], bool)
        if "terminal" in group:
            terminal = (group["terminal"][..., 0] > 0.0).at[:, 0].set(False)
        action = None if "action" in self.given else jnp.zeros((len(x0), 0, self.action_dim))
        if "action" in group:
            action = group["action"]
            if "action" in self.given:
                action = action.at[:, 0].set(context.action)
        return Rollout(
            observation=observation.at[:, 0].set(context.observation),
            reward=self.reward.unnormalize(group["reward"])[..., 0] if "reward" in group else None,
            terminal=terminal,
            action=action,
        )

    def _join(self, groups: dict[str, Array]) -> Array:
        """The diffused groups (..., size), concatenated in their order."""
        return jnp.concatenate([groups[name] for name in self.channels], axis=-1)


def to_target(observation: Array, observation_target: str) -> Array:
    """The states (B, T, observation_dim), or their changes, according to `observation_target`."""
    match observation_target:
        case "displacement":
            return observation - observation[:, :1]
        case "increment":
            previous = [observation[:, :1], observation[:, :-1]]
            return observation - jnp.concatenate(previous, axis=1)
    return observation


def from_target(target: Array, first: Array, observation_target: str) -> Array:
    """The inverse of `to_target`, given the windows' first states (B, observation_dim)."""
    match observation_target:
        case "displacement":
            return target + first[:, None]
        case "increment":
            return jnp.cumsum(target.at[:, 0].set(first), axis=1)
    return target


def check_groups(diffused: tuple[str, ...], given: tuple[str, ...]) -> None:
    """Raises UserError unless a model of windows supports these groups."""
    for name in diffused:
        require_choice("group in diffused", name, GROUPS)
    for name in given:
        require_choice("group in given", name, GIVABLE)
    for setting, names in (("diffused", diffused), ("given", given)):
        require(
            "observation" in names and len(set(names)) == len(names),
            f"{setting} is {names}; it must contain 'observation' and no group twice",
        )


def fit_codec(
    windows: WindowSet,
    observation_target: str,
    observation_normalizer: str,
    reward_normalizer: str,
    diffused: tuple[str, ...] = DIFFUSED,
    given: tuple[str, ...] = GIVEN,
) -> WindowCodec:
    """A codec fitted to the windows, or to `FIT_WINDOWS` random ones if there are more.

    Displacements are normalized separately at each step of the window: late ones are larger.
    Features are normalized separately, so they are cut a few at a time, which limits memory.
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
        seen = window.observation_mask.copy()  # includes the last states of episodes
        if observation_target == "increment":
            seen[:, 0] = False  # the first state is given
        states.append(fit(window.context.observation))
        targets.append(fit(target if observation_target == "displacement" else target[seen]))
    rewards = window.reward[window.reward_mask]
    return WindowCodec(
        state=concatenate(states),
        target=concatenate(targets),
        reward=NORMALIZERS[reward_normalizer](rewards[:, None]),
        observation_target=observation_target,
        horizon=windows.horizon,
        action_dim=windows.episodes.action.shape[-1],
        diffused=diffused,
        given=given,
    )


def _features(windows: WindowSet, part: slice) -> WindowSet:
    """The windows with only some features of the observations, and no actions."""
    episodes = windows.episodes
    return windows.replace(
        episodes=episodes.replace(
            observation=episodes.observation[:, part], action=episodes.action[:, :0]
        )
    )
