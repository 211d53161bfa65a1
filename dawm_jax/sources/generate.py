"""Synthetic transitions: contexts from the data, windows imagined from them, actions inferred."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.models.inverse_dynamics import InverseDynamics, InverseDynamicsState
from dawm_jax.models.window_diffusion import ModelState, WorldModel
from dawm_jax.settings import BatchSize, Count, Number, Positive, Share
from dawm_jax.training.devices import DATA, SEED, Mesh, Split, fetch, place
from dawm_jax.training.memory import HELD, free_bytes, peak_bytes
from dawm_jax.types import Array, Context, Dataset, Episodes, Rollout, Transition

PROBED = 256  # windows in the program whose memory is estimated
FAST_ON_CPU = 2_048  # windows at once on a device, of which more are not faster
FAST = 16_384  # on other devices, where that has not been measured
MOST = 2**19  # on all devices together


@dataclass(frozen=True)
class Synthesis(Sampling):
    """How much to generate, how, and which return-to-go to ask for.

    Either `target_return` itself, in units of the return scale, is asked of every window; or, if
    that is None, at least low + target_stretch * (q - low), where q is the data's
    `target_quantile` of the return-to-go and low its smallest. A better return-to-go of the
    context's own stays, so quantile 0 asks for what was recorded.
    """

    transitions: Count = 1_000_000
    target_return: Number | None = None
    target_quantile: Share = 0.9
    target_stretch: Positive = 1.1
    # Windows at once, on all devices; rounded up to a multiple of them. None: `fitting_chunk`.
    chunk: BatchSize | None = None

    @property
    def sampling(self) -> Sampling:
        """How to draw windows, whatever is asked of them."""
        return Sampling(**{f.name: getattr(self, f.name) for f in fields(Sampling)})

    def windows(self, horizon: int) -> int:
        """How many windows of `horizon` steps the transitions take, rounded up."""
        return -(-self.transitions // (horizon - 1))

    def wanted(self, return_to_go: np.ndarray) -> tuple[float, bool]:
        """What to ask for, given the data's return-to-go (N,), and if a better own one stays."""
        if self.target_return is not None:
            return self.target_return, False
        low = float(return_to_go.min())
        quantile = float(np.quantile(return_to_go, self.target_quantile))
        return low + self.target_stretch * (quantile - low), True


def rollout_transitions(
    rollout: Rollout,
    context: Context,
    inverse_dynamics: InverseDynamics,
    idm_state: InverseDynamicsState,
    discount: float | Array,
) -> tuple[Transition, Array]:
    """Cuts B generated windows into T - 1 transitions each.

    The first action is the context's, the later ones are inferred.

    Returns:
        Transitions whose arrays begin with (B, T - 1), and which of them are valid (B, T - 1):
        not those after a generated terminal state.
    """
    observation, next_observation = rollout.observation[:, :-1], rollout.observation[:, 1:]
    action = inverse_dynamics.predict(idm_state, observation, next_observation)
    transitions = Transition(
        observation=observation,
        action=action.at[:, 0].set(context.action),
        reward=rollout.reward[:, :-1],
        discount=jnp.where(rollout.terminal[:, 1:], 0.0, discount).astype(jnp.float32),
        next_observation=next_observation,
        real=jnp.zeros(observation.shape[:2], bool),
    )
    ended = jnp.cumsum(rollout.terminal[:, :-1], axis=1) > 0
    return transitions, ~ended


@partial(jax.jit, static_argnames=("world_model", "inverse_dynamics", "sampling", "keep_better"))
def _generate(
    world_model: WorldModel,
    model_state: ModelState,
    inverse_dynamics: InverseDynamics,
    idm_state: InverseDynamicsState,
    episodes: Episodes,
    rows: Array,
    sampling: Sampling,
    scales: tuple[float, float, float],
    keep_better: bool,
    key: Array,
    index: Array,
) -> tuple[Transition, Array]:
    """The transitions of the windows number `index` (B,), and which are valid."""
    wanted, return_scale, discount = scales
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(index)
    row = rows[jax.vmap(lambda k: jax.random.randint(k, (), 0, len(rows)))(keys[:, 0])]
    own = episodes.return_to_go[row] / return_scale
    context = Context(
        observation=episodes.observation[row],
        action=episodes.action[row],
        return_to_go=jnp.maximum(own, wanted) if keep_better else jnp.full_like(own, wanted),
    )
    rollout = world_model.sample(model_state, context, keys[:, 1], sampling)
    return rollout_transitions(rollout, context, inverse_dynamics, idm_state, discount)


def fitting_chunk(
    world_model: WorldModel,
    model_state: ModelState,
    inverse_dynamics: InverseDynamics,
    idm_state: InverseDynamicsState,
    dataset: Dataset,
    settings: Synthesis,
    mesh: Mesh | None = None,
) -> int:
    """How many windows to make at once on all devices: a power of two on each.

    They take at most half of the memory that is free now on the fullest device of this process, and
    are no more than what makes it fast.
    """
    episodes, rows = dataset.episodes, np.zeros(PROBED, int)

    def imagine(model_state: ModelState, idm_state: InverseDynamicsState) -> Any:
        context = Context(episodes.observation[rows], episodes.action[rows], jnp.zeros(PROBED))
        keys = jax.random.split(jax.random.key(0), PROBED)
        rollout = world_model.sample(model_state, context, keys, settings)
        return rollout_transitions(rollout, context, inverse_dynamics, idm_state, 1.0)

    program = jax.make_jaxpr(imagine)(model_state, idm_state).jaxpr
    fitting = free_bytes() // 2 * PROBED // (HELD * peak_bytes(program))
    fast = FAST_ON_CPU if jax.default_backend() == "cpu" else FAST
    of_each = 1 << (max(1, min(fitting, fast)).bit_length() - 1)
    return min(of_each * (mesh.size if mesh else 1), MOST)


def synthesize(
    world_model: WorldModel,
    model_state: ModelState,
    inverse_dynamics: InverseDynamics,
    idm_state: InverseDynamicsState,
    dataset: Dataset,
    settings: Synthesis,
    key: Array,
    mesh: Mesh | None = None,
) -> Transition:
    """Generates `settings.transitions` transitions, rounded up to whole windows.

    Args:
        dataset: where the contexts come from, each recorded step with the same probability.
        key: window number i depends on this key and on i alone, not on the chunk.
        mesh: the devices that share each chunk, as of `device_mesh`; one unless given.

    Returns:
        The valid transitions, on the host.
    """
    models = (world_model, model_state, inverse_dynamics, idm_state)
    parts = [part for _, part in synthesize_parts(*models, dataset, settings, key, mesh=mesh)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def synthesize_parts(
    world_model: WorldModel,
    model_state: ModelState,
    inverse_dynamics: InverseDynamics,
    idm_state: InverseDynamicsState,
    dataset: Dataset,
    settings: Synthesis,
    key: Array,
    start: int = 0,
    mesh: Mesh | None = None,
) -> Iterator[tuple[int, Transition]]:
    """The transitions of `synthesize` from window number `start` on, a chunk at a time.

    Yields:
        The number of windows generated so far, those before `start` included, and the valid
        transitions of the last chunk, on the host.
    """
    rows = np.flatnonzero(np.asarray(dataset.episodes.steps_left))
    to_go = np.asarray(dataset.episodes.return_to_go)[rows] / dataset.return_scale
    wanted, keep_better = settings.wanted(to_go)
    scales = (wanted, dataset.return_scale, dataset.discount)
    model_state, idm_state, episodes, rows, key = place(
        (model_state, idm_state, dataset.episodes, jnp.asarray(rows), key), mesh
    )
    models = (world_model, model_state, inverse_dynamics, idm_state)
    windows = settings.windows(world_model.horizon)
    devices = mesh.size if mesh else 1
    at_once = settings.chunk or fitting_chunk(*models, dataset, settings, mesh)
    chunk = -(-min(at_once, windows) // devices) * devices
    source = (*models, episodes, rows, settings.sampling, scales, keep_better, key)

    def generate(begin: int) -> tuple[np.ndarray, Any]:
        index = np.arange(begin, begin + chunk)
        numbers = place(jnp.asarray(index), mesh, Split((SEED, DATA)))
        return index, _generate(*source, numbers)

    # Each chunk is under way before the one before it is fetched.
    chunks: Iterator[Any] = chain(map(generate, range(start, windows, chunk)), [None])
    for (index, made), _ in pairwise(chunks):
        transitions, valid = fetch(made, mesh)
        valid = valid & (index < windows)[:, None]
        part = jax.tree.map(lambda leaf, valid=valid: leaf[valid], transitions)
        yield min(int(index[-1]) + 1, windows), part
