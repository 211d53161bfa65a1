"""Data sets and transitions built by hand, without the code under test."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dawm_jax.types import Dataset, Episodes, Transition

# observations (n + 1, d), actions (n, a) in [-1, 1], rewards (n,), whether it ends in a terminal
Episode = tuple[np.ndarray, np.ndarray, np.ndarray, bool]


def make_dataset(
    episodes: Sequence[Episode], discount: float = 0.99, return_scale: float = 1.0
) -> Dataset:
    """A data set of the `episodes`, one after the other."""
    rows: dict[str, list] = {
        name: []
        for name in ("observation", "action", "reward", "return_to_go", "steps_left", "terminated")
    }
    for observations, actions, rewards, terminated in episodes:
        steps = len(rewards)
        assert len(observations) == steps + 1
        assert len(actions) == steps
        for t in range(steps + 1):
            rows["observation"].append(observations[t])
            rows["action"].append(actions[t] if t < steps else np.zeros_like(actions[0]))
            rows["reward"].append(rewards[t] if t < steps else 0.0)
            rows["return_to_go"].append(
                sum(discount ** (k - t) * float(rewards[k]) for k in range(t, steps))
            )
            rows["steps_left"].append(steps - t)
            rows["terminated"].append(terminated)
    dtype = {"steps_left": np.int32, "terminated": bool}
    action_dim = episodes[0][1].shape[1]
    return Dataset(
        id="hand-made",
        episodes=Episodes(
            **{
                name: jnp.asarray(np.array(values), dtype.get(name, np.float32))
                for name, values in rows.items()
            }
        ),
        lengths=np.array([len(rewards) for _, _, rewards, _ in episodes]),
        returns=np.array([float(np.sum(rewards)) for _, _, rewards, _ in episodes]),
        terminated=np.array([terminated for *_, terminated in episodes]),
        action_low=-np.ones(action_dim, np.float32),
        action_high=np.ones(action_dim, np.float32),
        observation_origin=np.zeros(episodes[0][0].shape[1]),
        discount=discount,
        return_scale=return_scale,
        environment=None,
        reference_scores=None,
    )


def random_episode(
    rng: np.random.Generator,
    steps: int,
    terminated: bool,
    observation_dim: int = 3,
    action_dim: int = 2,
) -> Episode:
    """An episode of noise with actions in [-1, 1]."""
    return (
        rng.normal(size=(steps + 1, observation_dim)),
        rng.uniform(-1.0, 1.0, size=(steps, action_dim)),
        rng.normal(size=steps),
        terminated,
    )


def make_transitions(
    observation: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray,
    discount: np.ndarray,
    next_observation: np.ndarray,
    recorded: bool = True,
) -> Transition:
    """N transitions with unknown next actions."""
    count = len(reward)
    arrays = (observation, action, reward, discount, next_observation, np.zeros_like(action))
    rows = [jnp.asarray(array, jnp.float32) for array in arrays]
    return Transition(
        observation=rows[0],
        action=rows[1],
        reward=rows[2],
        discount=rows[3],
        next_observation=rows[4],
        next_action=rows[5],
        next_action_mask=jnp.zeros(count, bool),
        recorded=jnp.full(count, recorded),
    )
