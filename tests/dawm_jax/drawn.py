"""Data sets drawn at random, of odd lengths, ends and values, as Minari would return them."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from gymnasium.spaces import Box
from hypothesis import strategies as st

from dawm_jax.data.formats import minari as minari_source
from dawm_jax.types import Dataset


def tiny_ends(count: int) -> list[tuple[int, bool]]:
    return [(1 + i % 2, i % 3 > 0) for i in range(count)]


# Steps of each episode, and whether it ends in a terminal state.
ENDS = {
    "one": [(12, False)],
    "one_terminal": [(12, True)],
    "one_step": [(1, True)],
    "one_cut_step": [(1, False)],
    "mixed": [(9, True), (1, False), (4, False), (2, True), (15, False)],
    "tiny": tiny_ends(300),
}
# Columns as functions of a column of standard normals.
COLUMNS = {
    "normal": lambda x: x,
    "zero": lambda x: 0 * x,
    "one_constant": lambda x: 0 * x + 1e8,
    "large_constant": lambda x: 0 * x - 1e15,
    "offset": lambda x: x + 1e8,
    "large": lambda x: np.clip(x, -3, 3) * 3e14,
    "small": lambda x: x * 1e-4,
    "tiny": lambda x: x * 1e-38,
    "denormal": lambda x: x * 1e-44,
    "outlier": lambda x: np.where(np.arange(len(x)) == len(x) - 1, 1e12, x),
    "two_values": lambda x: np.where(x > 0, 1.0, np.nextafter(np.float32(1), np.float32(2))),
}
BEYOND = {"nan": np.nan, "infinite": -np.inf, "beyond": 1e20, "beyond_float32": 1e300}
SPACES = {
    "unit": (-1.0, 1.0),
    "wide": (-3.0, 7.0),
    "infinite": (-np.inf, np.inf),
    "half": (0.0, np.inf),
    "equal": (0.5, 0.5),
    "narrow": (0.1, 0.1 + 1e-12),
    "beyond_float32": (-1e300, 1e300),
    "large": (-3e38, 3e38),
}


class Drawn(NamedTuple):
    """A data set for `load`."""

    episodes: list[SimpleNamespace]
    action_space: Box
    observation_space: Box
    discount: float
    return_scale: float | None
    summary: str

    def __repr__(self) -> str:
        return self.summary

    def load(self) -> Dataset:
        """Loads the data set, without a file."""
        steps = sum(len(episode.rewards) for episode in self.episodes)
        part = SimpleNamespace(
            id="drawn-v0",
            observation_space=self.observation_space,
            action_space=self.action_space,
            env_spec=None,
            _eval_env_spec=None,
            storage=SimpleNamespace(metadata={"total_steps": steps}, data_path=Path("nowhere")),
            iterate_episodes=lambda: self.episodes,
        )
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* lie beyond the bounds")
            patch.setattr(minari_source, "open_data_set", lambda *_: part)
            return minari_source.load(
                "drawn-v0", discount=self.discount, return_scale=self.return_scale
            )


@st.composite
def drawn(draw: st.DrawFn, ends: st.SearchStrategy, widths: st.SearchStrategy) -> Drawn:
    """Data of every kind above; columns, lengths and bounds in any combination."""
    lengths = draw(ends)
    observation_dim, action_dim = draw(widths)
    rng = np.random.default_rng(draw(st.integers(0, 5)))
    column = st.sampled_from(sorted(COLUMNS))

    chosen = []

    def block(rows: int, columns: int) -> np.ndarray:
        kinds = draw(st.lists(column, min_size=columns, max_size=columns))
        chosen.append(kinds)
        return np.stack([COLUMNS[kind](rng.normal(size=rows)) for kind in kinds], axis=1)

    steps = np.array([n for n, _ in lengths])
    observations = block(int((steps + 1).sum()), observation_dim)
    actions, rewards = block(int(steps.sum()), action_dim), block(int(steps.sum()), 1)[:, 0]
    parts = zip(
        np.split(observations, np.cumsum(steps + 1)[:-1]),
        np.split(actions, np.cumsum(steps)[:-1]),
        np.split(rewards, np.cumsum(steps)[:-1]),
        lengths,
        strict=True,
    )
    space = draw(st.sampled_from(sorted(SPACES)))
    low, high = SPACES[space]
    discount = draw(st.sampled_from([0.5, 0.99, 1.0]))
    return_scale = draw(st.sampled_from([None, None, 400.0]))
    return Drawn(
        episodes=[
            SimpleNamespace(
                observations=o,
                actions=a,
                rewards=r,
                terminations=(np.arange(n) == n - 1) & ended,
                truncations=(np.arange(n) == n - 1) & (not ended),
            )
            for o, a, r, (n, ended) in parts
        ],
        action_space=Box(low, high, (action_dim,), np.float64),
        observation_space=Box(-np.inf, np.inf, (observation_dim,), np.float64),
        discount=discount,
        return_scale=return_scale,
        summary=f"{lengths[:9]} {chosen} {space} {discount} {return_scale}",
    )
