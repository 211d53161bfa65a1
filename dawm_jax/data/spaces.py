"""Observations and actions of nested spaces as vectors.

A Dict or Tuple of Boxes becomes one vector in the order of `gymnasium.spaces.utils.flatten`: part
by part as the space lists them. Parts are found by their names, so that an environment whose Dict
has another order than the data set's gives the same vector.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple

from dawm_jax.errors import UserError, require

SUPPORTED = "Box spaces of vectors, and Dicts and Tuples of them"


@dataclass(frozen=True)
class Part:
    """A Box in a space, and where it is."""

    path: tuple[str | int, ...]  # keys of Dicts and places in Tuples; empty for the space itself
    box: Box

    @property
    def name(self) -> str:
        return "/".join(map(str, self.path))

    @property
    def size(self) -> int:
        return prod(self.box.shape)

    def of_value(self, value: Any) -> Any:
        """What a value of the whole space has here.

        Raises:
            KeyError, IndexError: nothing.
        """
        for key in self.path:
            value = value[key]
        return value


@dataclass(frozen=True)
class Layout:
    """Which numbers of a space are in a vector, in order."""

    space: Space[Any]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, space: Space[Any]) -> "Layout":
        """All numbers of `space`.

        Raises:
            UserError: it has a part that is no Box of numbers, or contains no numbers.
        """
        parts = tuple(_parts(space, ()))
        require(
            sum(part.size for part in parts) > 0,
            f"space {brief(space)}, which contains no numbers. Use non-empty spaces",
        )
        return cls(space, parts)

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def sizes(self) -> dict[str, int]:
        """The name and size of each part, in order."""
        return {part.name: part.size for part in self.parts}

    @property
    def box(self) -> Box:
        """The vector's space."""
        if isinstance(self.space, Box):
            return self.space
        low, high = (
            np.concatenate([getattr(part.box, end).reshape(-1) for part in self.parts])
            for end in ("low", "high")
        )
        return Box(low, high, dtype=low.dtype.type)

    def named(self, names: Sequence[str]) -> "Layout":
        """The parts of these names, in their order.

        Raises:
            KeyError: there is no part of a name.
        """
        by_name = {part.name: part for part in self.parts}
        return replace(self, parts=tuple(by_name[name] for name in names))

    def under(self, key: str) -> "Layout":
        """The parts under `key` of a Dict."""
        return replace(self, parts=tuple(p for p in self.parts if p.path[:1] == (key,)))

    def without(self, key: str) -> "Layout":
        """All other parts."""
        return replace(self, parts=tuple(p for p in self.parts if p.path[:1] != (key,)))

    def places(self, some: "Layout") -> np.ndarray:
        """Where the numbers of `some` of the parts are in the vector."""
        ends = np.cumsum([part.size for part in self.parts])
        kept = {part.path for part in some.parts}
        pairs = zip(self.parts, ends, strict=True)
        ranges = [np.arange(end - part.size, end) for part, end in pairs if part.path in kept]
        return np.concatenate(ranges)

    def of_parts(self, other: "Layout") -> "Layout":
        """The parts of the same names in another layout, in the order of this one.

        Raises:
            KeyError: it lacks one.
        """
        there = {part.path: part for part in other.parts}
        return Layout(other.space, tuple(there[part.path] for part in self.parts))

    def flat(self, value: Any) -> np.ndarray:
        """(..., size) of one value of the space, or of many along leading axes.

        Raises:
            KeyError, IndexError: a part is missing.
        """
        pieces = []
        for part in self.parts:
            piece = np.asarray(part.of_value(value))
            leading = piece.shape[: max(0, piece.ndim - len(part.box.shape))]
            pieces.append(piece.reshape(*leading, -1))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)

    def nested(self, vector: np.ndarray) -> Any:
        """The value of the space that `vector` (size,) describes, if no part is left out."""
        ends = np.cumsum([part.size for part in self.parts])[:-1]
        return _nested(self.space, iter(np.split(vector, ends)))


def brief(value: Any, most: int = 80) -> str:
    """The text of `value`, shortened."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _parts(space: Space[Any], path: tuple[str | int, ...]) -> Iterator[Part]:
    match space:
        case Dict():
            for key, each in space.spaces.items():
                yield from _parts(each, (*path, key))
        case Tuple():
            for place, each in enumerate(space.spaces):
                yield from _parts(each, (*path, place))
        case Box() if space.dtype != np.uint8:
            yield Part(path, space)
        case _:
            where = f", at {'/'.join(map(str, path))}" if path else ""
            raise UserError(
                f"space {brief(space)}{where}: only {SUPPORTED} are supported, no pixels and no "
                "discrete values. Use a data set of vector observations and continuous actions"
            )


def _nested(space: Space[Any], pieces: Iterator[np.ndarray]) -> Any:
    match space:
        case Dict():
            return {key: _nested(each, pieces) for key, each in space.spaces.items()}
        case Tuple():
            return tuple(_nested(each, pieces) for each in space.spaces)
    return next(pieces).reshape(space.shape)
