"""Synthetic episodes on disk: parts, as they are made, and the file of whole episodes.

A part holds the rows that some rollouts added to the episodes under way, and the state of the
lanes after them, from which the next part follows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dawm_jax.export.rows import begin, put, row_type
from dawm_jax.sources.episodes import Lanes, Rows, valid_rows
from dawm_jax.types import Context, Dataset
from experiments.store import files


class Complete:
    """The first episodes, up to the one that completes a number of transitions.

    Later episodes may have ended, too; they are left out, as among them the short ones come first.
    """

    def __init__(self, wanted: int):
        self.wanted = wanted
        self.lengths = np.zeros(0, np.int64)  # 0 where an episode is under way
        self.episodes = self.transitions = 0
        self.made = 0  # transitions, those of episodes under way included

    def add(self, episode: np.ndarray, length: np.ndarray, made: int) -> None:
        """Adds episodes (E,) that have ended, their lengths, and the transitions of a part."""
        self.made += made
        missing = int(episode.max(initial=-1)) + 1 - len(self.lengths)
        if missing > 0:
            more = np.zeros(missing + len(self.lengths), np.int64)
            self.lengths = np.concatenate([self.lengths, more])
        self.lengths[episode] = length
        while not self.done and self.episodes < len(self.lengths):
            if self.lengths[self.episodes] == 0:
                break
            self.transitions += int(self.lengths[self.episodes])
            self.episodes += 1

    @property
    def done(self) -> bool:
        return self.transitions >= self.wanted


def write_part(path: Path, lanes: Lanes, rows: Rows, dataset: Dataset) -> None:
    """Writes the rows that were added last, in the environment's units, and the lanes."""
    step, episode, number = valid_rows(rows)
    low, high = dataset.action_low, dataset.action_high
    arrays: dict[str, Any] = {
        name: dataset.in_units(name, np.asarray(getattr(step, name)))
        for name in ("observation", "action", "reward", "next_observation")
    }
    arrays |= {
        "action": np.clip(arrays["action"], low, high),  # rounding can exceed them
        "terminal": np.asarray(step.discount) == 0.0,
        "episode": episode,
        "step": number,
    }
    arrays["ended"], arrays["length"] = ended(rows)
    arrays |= {f"lanes.{name}": value for name, value in _flat(lanes).items()}
    files.remove(path)
    with files.atomic(path) as partial_file, partial_file.open("wb") as file:
        np.savez(file, **arrays)
    files.seal(path)


def ended(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the episodes that end with `rows` on the host, and their lengths."""
    these = np.asarray(rows.ended)
    return np.asarray(rows.episode)[these], np.asarray(rows.step + rows.count)[these]


def _flat(lanes: Lanes) -> dict[str, np.ndarray]:
    values = {**vars(lanes.context), **vars(lanes)}
    return {name: np.asarray(value) for name, value in values.items() if name != "context"}


def lanes_after(part: Path) -> Lanes:
    """The state of the lanes after a part."""
    with np.load(part, allow_pickle=False) as stored:
        value = {name: stored[name] for name in stored.files if name.startswith("lanes.")}
    context = {name: value.pop(f"lanes.{name}") for name in Context.__dataclass_fields__}
    others = {name.removeprefix("lanes."): array for name, array in value.items()}
    return Lanes(context=Context(**context), **others)


def complete(parts: list[Path], wanted: int) -> Complete:
    """The complete episodes of some parts."""
    found = Complete(wanted)
    for part in parts:
        with np.load(part, allow_pickle=False) as stored:
            found.add(stored["ended"], stored["length"], len(stored["step"]))
    return found


def join(parts: list[Path], found: Complete, path: Path) -> dict[str, Any]:
    """Writes the complete episodes of the parts into one file, one part at a time.

    Returns:
        Their facts for the record.
    """
    lengths = found.lengths[: found.episodes]
    first = np.cumsum(lengths) - lengths
    returns, terminal = np.zeros(found.episodes), 0
    files.remove(path)
    with files.atomic(path) as partial_file, partial_file.open("w+b") as file:
        offset = None
        for rows, episode, step in _rows(parts):
            if offset is None:
                offset = begin(file, rows.dtype, found.transitions)
            kept = episode < found.episodes
            rows, episode, step = rows[kept], episode[kept], step[kept]
            rows["last"] = step + 1 == lengths[episode]
            put(file, offset, rows, first[episode] + step)
            returns += np.bincount(episode, rows["reward"], found.episodes)
            terminal += int(np.count_nonzero(rows["terminal"]))
    files.seal(path)
    return {
        "transitions": found.transitions,
        "episodes": found.episodes,
        "predicted_ends": terminal,
        "return_mean": float(returns.mean()),
        "length_mean": float(lengths.mean()),
    }


def _rows(parts: list[Path]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The rows of each part, their episodes and their steps in these."""
    for part in parts:
        with np.load(part, allow_pickle=False) as stored:
            rows = np.zeros(
                len(stored["reward"]), row_type(stored["observation"], stored["action"])
            )
            for name in rows.dtype.names or ():
                if name != "last":
                    rows[name] = stored[name]
            yield rows, stored["episode"], stored["step"]
