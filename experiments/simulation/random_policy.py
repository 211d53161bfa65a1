"""Returns of uniform random actions: what scores 0."""

import math
from typing import Any

import numpy as np

from dawm_jax.errors import UserError
from experiments.simulation.environments import make
from experiments.system.workers import in_processes

BLOCK = 25  # episodes in one task of a process


def random_returns(environment_ids: list[str], episodes: int) -> dict[str, dict[str, Any]]:
    """The mean return, its standard error and the mean length, for each environment.

    Episode number n starts from `reset(seed=n)`; its actions are drawn by `default_rng(n)`.

    Raises:
        UserError: an environment cannot be made, or fails.
    """
    starts = range(0, episodes, BLOCK)
    tasks = [
        (name, first, min(first + BLOCK, episodes)) for name in environment_ids for first in starts
    ]
    blocks = in_processes(play, tasks)
    results = {}
    for name in environment_ids:
        rows = [
            row
            for task, block in zip(tasks, blocks, strict=True)
            if task[0] == name
            for row in block
        ]
        returns, lengths = np.array(rows).T
        results[name] = {
            "return_mean": float(returns.mean()),
            "standard_error": float(returns.std(ddof=1) / math.sqrt(episodes)),
            "length_mean": float(lengths.mean()),
        }
    return results


def play(environment_id: str, first: int, end: int) -> list[tuple[float, int]]:
    """Return and length of the episodes from number `first` to before `end`."""
    rows = []
    try:
        with make(environment_id) as environment:
            space: Any = environment.action_space
            low, high = space.low, space.high
            for number in range(first, end):
                rng = np.random.default_rng(number)
                environment.reset(seed=number)
                total, steps, ended = 0.0, 0, False
                while not ended:
                    action = rng.uniform(low, high).astype(low.dtype)
                    _, reward, terminated, truncated, _ = environment.step(action)
                    total, steps = total + float(reward), steps + 1
                    ended = terminated or truncated
                rows.append((total, steps))
    except Exception as error:  # environments of other packages raise anything
        raise UserError(f"{environment_id} fails: {type(error).__name__}: {error}") from error
    return rows
