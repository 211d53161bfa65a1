"""The rate of training."""

from collections.abc import Iterator
from time import monotonic
from typing import Any


class Clock:
    """Updates per second; the first chunk, which compiles, counts only if it is alone."""

    def __init__(self, done: int):
        self.marks = [(done, 0.0)]

    def timed(
        self, chunks: Iterator[tuple[int, Any, dict[str, Any]]]
    ) -> Iterator[tuple[int, Any, dict[str, Any]]]:
        """The chunks of `training.loop.train`, whose time is taken."""
        spent = 0.0
        while True:
            begin = monotonic()
            item = next(chunks, None)
            if item is None:
                return
            spent += monotonic() - begin
            self.marks.append((item[0], spent))
            yield item

    @property
    def rate(self) -> float:
        first = self.marks[1] if len(self.marks) > 2 else self.marks[0]
        last = self.marks[-1]
        return (last[0] - first[0]) / max(last[1] - first[1], 1e-9)
