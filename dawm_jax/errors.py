"""Errors that a user can correct, and helpers that raise them."""

import difflib
from collections.abc import Collection


class UserError(ValueError):
    """States what was given, what is expected, and what to do; shown without a traceback."""


class DatasetError(UserError):
    """A data set cannot be found or used; the message says what to do."""


class NonFiniteError(UserError, FloatingPointError):
    """A metric or a part of the state is not finite after some updates of a training run."""


def require(condition: bool, message: str) -> None:
    """Raises UserError with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def require_choice(setting: str, value: str, choices: Collection[str]) -> None:
    """Raises UserError unless `value` is one of `choices`."""
    if value in choices:
        return
    near = difflib.get_close_matches(value, choices, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UserError(
        f"unknown {setting} '{value}': the choices are {', '.join(sorted(choices))}.{hint}"
    )
