"""Policies and value functions of the learners."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from dawm_jax.networks.blocks import MLP
from dawm_jax.networks.initialization import Initialization, LecunNormal
from dawm_jax.types import Array

LOG_STD_RANGE = (-5.0, 2.0)  # Gaussian policies clip log_std to it
BOUND = 1.0 - 1e-6  # actions of a SquashedGaussianPolicy are clipped to [-BOUND, BOUND]


class DeterministicPolicy(nn.Module):
    """Observation (..., observation_dim) -> action (..., action_dim) in (-1, 1)."""

    hidden: Sequence[int]
    action_dim: int
    initialization: Initialization = LecunNormal()

    @nn.compact
    def __call__(self, observation: Array) -> Array:
        widths = (*self.hidden, self.action_dim)
        return jnp.tanh(MLP(widths, initialization=self.initialization)(observation))


class GaussianPolicy(nn.Module):
    """Observation -> mean in (-1, 1) and log standard deviation of a normal over actions.

    The deviation does not depend on the state, as in IQL's code for locomotion.
    """

    hidden: Sequence[int]
    action_dim: int
    initialization: Initialization = LecunNormal()

    @nn.compact
    def __call__(self, observation: Array) -> tuple[Array, Array]:
        widths = (*self.hidden, self.action_dim)
        mean = jnp.tanh(MLP(widths, initialization=self.initialization)(observation))
        log_std = self.param("log_std", nn.initializers.zeros, (self.action_dim,))
        return mean, jnp.clip(log_std, *LOG_STD_RANGE)


class SquashedGaussianPolicy(nn.Module):
    """Observation -> mean and log standard deviation of tanh^-1(action), a diagonal normal.

    Both (..., action_dim) depend on the observation, as in SAC (Haarnoja et al. 2018); the log
    standard deviation is clipped to LOG_STD_RANGE. See `squashed_sample` and
    `squashed_log_probability` for the distribution; its median action is tanh(mean).
    """

    hidden: Sequence[int]
    action_dim: int
    layer_norm: bool = False

    @nn.compact
    def __call__(self, observation: Array) -> tuple[Array, Array]:
        widths = (*self.hidden, 2 * self.action_dim)
        outputs = MLP(widths, layer_norm=self.layer_norm)(observation)
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        return mean, jnp.clip(log_std, *LOG_STD_RANGE)


def squashed_sample(mean: Array, log_std: Array, key: Array) -> Array:
    """Actions tanh(u) in [-BOUND, BOUND] of u ~ N(mean, exp(log_std)^2), all (..., action_dim).

    They are clipped because tanh rounds to 1 in float32 from about u = 9.
    """
    u = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)
    return jnp.clip(jnp.tanh(u), -BOUND, BOUND)


def squashed_log_probability(mean: Array, log_std: Array, action: Array) -> Array:
    """Log density of actions tanh(u) for normal u (Haarnoja et al. 2018, appendix C).

    log p(a) = sum_i log N(u_i; mean_i, std_i^2) - log(1 - a_i^2) with u = tanh^-1(a).

    Args:
        mean: (B, action_dim) of u.
        log_std: (B, action_dim) of u.
        action: (B, action_dim) in [-1, 1]; clipped to [-BOUND, BOUND], so that u is finite.

    Returns:
        (B,).
    """
    action = jnp.clip(action, -BOUND, BOUND)
    # log(1 - a) and log(1 + a) are accurate in float32 up to the bounds; log(1 - a^2) is not.
    # Not log1p: for two of them in one sum, jaxlib 0.10.2 computes the first twice on CPUs.
    log_above, log_below = jnp.log(1.0 - action), jnp.log(1.0 + action)
    u = 0.5 * (log_below - log_above)
    log_normal = jax.scipy.stats.norm.logpdf(u, mean, jnp.exp(log_std))
    return (log_normal - log_above - log_below).sum(-1)


class TwinCritic(nn.Module):
    """Observation and action (B, ...) -> the Q-values of independent critics (count, B)."""

    hidden: Sequence[int]
    count: int = 2
    layer_norm: bool = False
    initialization: Initialization = LecunNormal()

    @nn.compact
    def __call__(self, observation: Array, action: Array) -> Array:
        twin = nn.vmap(
            MLP,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=self.count,
        )
        inputs = jnp.concatenate([observation, action], axis=-1)
        networks = twin(
            (*self.hidden, 1), layer_norm=self.layer_norm, initialization=self.initialization
        )
        return networks(inputs)[..., 0]


class Value(nn.Module):
    """Observation (B, ...) -> state value (B,)."""

    hidden: Sequence[int]
    layer_norm: bool = False
    initialization: Initialization = LecunNormal()

    @nn.compact
    def __call__(self, observation: Array) -> Array:
        network = MLP(
            (*self.hidden, 1), layer_norm=self.layer_norm, initialization=self.initialization
        )
        return network(observation)[..., 0]
