"""Errors that a user can put right, and what raises them."""

import difflib
from collections.abc import Collection


class UserError(ValueError):
    """Says what was given, what was expected, and what to do. Shown without a traceback."""


def require(condition: bool, message: str) -> None:
    """Raises UserError with `message` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def require_choice(setting: str, value: str, choices: Collection[str]) -> None:
    """Raises UserError unless `value` is one of `choices`."""
    near = difflib.get_close_matches(value, choices, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    require(
        value in choices,
        f"unknown {setting} '{value}': the choices are {', '.join(sorted(choices))}.{hint}",
    )
