"""Environments as a data set names them."""

import warnings
from typing import Any

import gymnasium


def make(environment: Any, **settings: Any) -> gymnasium.Env:
    """Makes an environment, without advice to use a newer version: the data set decides."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)
        return gymnasium.make(environment, **settings)
