"""Errors that a user can put right, and what raises them."""

import difflib
from collections.abc import Collection
from typing import Any


class UserError(ValueError):
    """Says what was given, what was expected, and what to do. Shown without a traceback."""


class DatasetError(UserError):
    """A data set cannot be found or used; the message says what to do."""


class NonFiniteError(UserError, FloatingPointError):
    """Training left the finite numbers. Carries the last good state and the updates it has had."""

    def __init__(self, message: str, updates: int, state: Any):
        super().__init__(message)
        self.updates = updates
        self.state = state


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
