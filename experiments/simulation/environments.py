"""Environments as a data set names them."""

import warnings
from typing import Any

import gymnasium

from dawm_jax.errors import UserError


def make(environment: Any, **settings: Any) -> gymnasium.Env:
    """Makes an environment, without advice to use a newer version: the data set decides."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)
        return gymnasium.make(environment, **settings)


def specification(environment: str, **settings: Any) -> Any:
    """The specification of an environment that can be made.

    Raises:
        UserError: it cannot be made.
    """
    try:
        with make(environment, **settings) as made:
            return made.spec
    except Exception as error:  # environments of other packages raise anything
        raise UserError(
            f"the environment {environment} cannot be made: {type(error).__name__}: {error}"
        ) from error
