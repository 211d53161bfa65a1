"""Messages for a config that cannot be read, because of its file or a flag."""

import ast
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ml_collections import ConfigDict

MODULE = "config_config"  # ml_collections' name for the file of the flag --config


def check(config: Any) -> None:
    """Raises ValueError unless `config` is a ConfigDict that names a data set.

    For a file that it cannot open ml_collections returns an object that raises an OSError.
    """
    getattr(config, "dataset", None)
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise ValueError(f"the config file's get_config returns {kind}, not a ConfigDict")
    if not isinstance(config.get("dataset"), str):
        raise ValueError("the config has no 'dataset': set it to the id of a data set")


def explain(error: BaseException) -> str:
    """One message for an error while flags and the config file are read."""
    for cause in _causes(error):
        if isinstance(cause, SyntaxError):
            return f"the config fails at {cause.filename}, line {cause.lineno}: {cause.msg}"
        if isinstance(cause, AttributeError) and cause.name == "get_config":
            return "the config file has no function get_config, which must return the settings"
        frames = traceback.walk_tb(cause.__traceback__)
        own = [(f, line) for f, line in frames if f.f_globals.get("__name__") == MODULE]
        if own:
            where = f"{own[-1][0].f_code.co_filename}, line {own[-1][1]}"
            return f"the config fails at {where}: {type(cause).__name__}: {_text(cause)}"
    first = next(_causes(error))
    if isinstance(first, OSError):
        return f"the config file cannot be read: {str(first).splitlines()[-1].strip()}"
    if "Error whilst parsing config file" in str(error):
        return f"the config cannot be built: {_text(first)}"
    if isinstance(error, (AttributeError, KeyError)):
        return f"a --config flag names no field of the config: {_text(error)}"
    return _text(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, the first cause first."""
    if error is not None:
        yield from _causes(error.__cause__ or error.__context__)
        yield error


def _text(error: BaseException) -> str:
    """The error's message on one line."""
    words = str(error)
    if isinstance(error, (AttributeError, KeyError)):
        with suppress(SyntaxError, ValueError):
            words = str(ast.literal_eval(words))  # of KeyError, and ml_collections', the repr
    return ". ".join(line.strip() for line in words.splitlines()).rstrip(".")
