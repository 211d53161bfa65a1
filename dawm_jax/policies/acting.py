"""Acting with a state, a memory and a key, so that planners are policies too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from dawm_jax.learners import Learner
from dawm_jax.settings import PolicyName
from dawm_jax.types import Array


class Policy(Protocol):
    """What acts in B environments side by side."""

    def reset(self, state: Any, observation: Array) -> Any:
        """The memory before the first action, given the first observations (B, ...)."""

    def act(self, state: Any, memory: Any, observation: Array, key: Array) -> tuple[Array, Any]:
        """Actions (B, action_dim) in [-1, 1], and the memory for the next step."""


@dataclass(frozen=True)
class LearnerPolicy:
    """A policy that a learner has trained; it has no memory and needs no key."""

    learner: Learner
    policy: PolicyName = "averaged"  # see `Learner.act`

    def reset(self, state: Any, observation: Array) -> tuple[()]:
        return ()

    def act(
        self, state: Any, memory: tuple[()], observation: Array, key: Array
    ) -> tuple[Array, tuple[()]]:
        return self.learner.act(state, observation, self.policy), memory


Act = Callable[[np.ndarray], np.ndarray]  # observations (S, B, ...) -> actions (S, B, action_dim)


def acting(policy: Policy) -> Callable[[Any, Array], Act]:
    """A function start(states, key) that starts S seeds of a policy.

    What it returns maps observations (S, B, ...) to actions (S, B, action_dim), on the host, one
    step after the other; each start has a memory of its own. Compiled once.
    """
    reset = jax.jit(jax.vmap(policy.reset))
    act = jax.jit(jax.vmap(policy.act))

    def start(states: Any, key: Array) -> Act:
        memory: list[Any] = []  # empty before the first step
        steps = 0

        def step(observation: np.ndarray) -> np.ndarray:
            nonlocal steps
            if not memory:
                memory.append(reset(states, observation))
            keys = jax.random.split(jax.random.fold_in(key, steps), len(observation))
            steps += 1
            action, memory[0] = act(states, memory[0], observation, keys)
            return np.asarray(action)

        return step

    return start
