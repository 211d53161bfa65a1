"""Ranges of settings, written as the types of dataclass fields, and their check.

    @dataclass(frozen=True)
    class Settings:
        width: Width = 32
        dropout: Dropout = 0.1

        def __post_init__(self) -> None:
            check_settings(self)

The bounds are far beyond what any machine can hold or any run can use.
"""

from dataclasses import dataclass, fields
from reprlib import repr as shortened
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from dawm_jax.errors import require


@dataclass(frozen=True)
class Range:
    """The finite numbers from `low` to `high`, an open end excluded."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below  # both False for NaN

    def __str__(self) -> str:
        low, high = f"{self.low:,.12g}", f"{self.high:,.12g}"
        if not (self.low_open or self.high_open):
            return f"from {low} to {high}"
        above = "above" if self.low_open else "of at least"
        return f"{above} {low} and {'below' if self.high_open else 'at most'} {high}"


@dataclass(frozen=True)
class OneOf:
    """Some words."""

    words: tuple[str, ...]

    def __contains__(self, value: str) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return "that is " + " or ".join(f"'{word}'" for word in self.words)


Count = Annotated[int, Range(1, 1_000_000_000)]  # of updates, steps, transitions
CountOrZero = Annotated[int, Range(0, 1_000_000_000)]
Few = Annotated[int, Range(1, 10_000)]  # of things side by side: seeds, steps of a window
FewOrZero = Annotated[int, Range(0, 10_000)]
BatchSize = Annotated[int, Range(1, 1_000_000)]
Width = Annotated[int, Range(1, 16_384)]  # of a layer
Number = Annotated[float, Range(-1e9, 1e9)]
Depth = Annotated[int, Range(1, 16)]  # of a binary tree
Positive = Annotated[float, Range(1e-9, 1e9)]
NotNegative = Annotated[float, Range(0.0, 1e9)]
Strength = Annotated[float, Range(0.0, 1e3)]  # beyond it, samples overflow
LearningRate = Annotated[float, Range(1e-12, 1.0)]
Factor = Annotated[float, Range(0.0, 1.0, low_open=True)]  # a discount, a Polyak step size
Share = Annotated[float, Range(0.0, 1.0)]
Dropout = Annotated[float, Range(0.0, 1.0, high_open=True)]
Between = Annotated[float, Range(0.0, 1.0, low_open=True, high_open=True)]
LogNoiseMean = Annotated[float, Range(-5.0, 5.0)]  # beyond them, float32 has no squares of noise
LogNoiseDeviation = Annotated[float, Range(0.0, 3.0, low_open=True)]
LowestNoise = Annotated[float, Range(1e-6, 0.1)]  # relative to data of unit variance
HighestNoise = Annotated[float, Range(1.0, 1e4)]
GridExponent = Annotated[float, Range(1.0, 100.0)]

Rows = Annotated[str, OneOf(("all", "recorded"))]  # of a batch, for which a loss is computed
CloningRows = Annotated[str, OneOf(("all", "recorded", "better"))]  # see learners/td3.py
POLICIES = ("averaged", "last")  # of a learner, see learners/protocol.py
PolicyName = Annotated[str, OneOf(POLICIES)]
Goals = Annotated[str, OneOf(("desired", "both"))]  # see data/goals.py
EpisodeChoice = Annotated[str, OneOf(("first", "random", "best"))]  # see data/columns.py
ActionBounds = Annotated[str, OneOf(("clip", "refuse", "data"))]  # see formats/minari.py

WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


def check_settings(settings: Any, name: str | None = None) -> None:
    """Raises UserError for the first field that has a wrong type or is out of range.

    Args:
        settings: a dataclass whose fields are numbers, text, tuples of them, or settings.
        name: its name in messages (default: its class).
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        value = getattr(settings, field.name)
        check_value(f"{name or type(settings).__name__}.{field.name}", value, hints[field.name])


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raises UserError unless `value` satisfies the type `hint`, e.g. `Width`."""
    require(_fits(value, hint), f"{name} is {shortened(value)}; it must be {_words(hint)}")


def _fits(value: Any, hint: Any) -> bool:
    match get_origin(hint), get_args(hint):
        case (origin, (plain, allowed)) if origin is Annotated:
            return _fits(value, plain) and value in allowed
        case (origin, (each, _)) if origin is tuple:
            return isinstance(value, tuple) and all(_fits(v, each) for v in value)
        case (None, _):
            kind = (int, float) if hint is float else hint
            return isinstance(value, kind) and (hint is bool or not isinstance(value, bool))
        case (_, choices):
            return any(_fits(value, choice) for choice in choices)


def _words(hint: Any) -> str:
    match get_origin(hint), get_args(hint):
        case (origin, (plain, allowed)) if origin is Annotated:
            return f"{_words(plain)} {allowed}"
        case (origin, (each, _)) if origin is tuple:
            return f"a tuple, each entry {_words(each)}"
        case (None, _):
            return WORDS.get(hint, f"settings of class {hint.__name__}")
        case (_, choices):
            return ", or ".join("unset" if c is NoneType else _words(c) for c in choices)
