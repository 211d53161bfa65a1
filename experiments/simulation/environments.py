"""Environments as a data set names them."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TypeVar

import gymnasium
import mujoco
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import NameNotFound

from dawm_jax.errors import UserError

ROBOTICS = "gymnasium_robotics"
Found = TypeVar("Found")


def make(environment: Any, **settings: Any) -> gymnasium.Env:
    """Makes an environment, without advice to use a newer version: the data set decides.

    Nor does MuJoCo say that a robot's file, which is Gymnasium's, uses what it will drop.

    Args:
        environment: its specification; or its id, also of Gymnasium-Robotics if that is installed.
    """
    with warnings.catch_warnings(), _model_warnings():
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)
        return _with_robotics(gymnasium.make, environment, **settings)


@contextmanager
def _model_warnings() -> Iterator[None]:
    """Within it, MuJoCo's warnings go to stderr, but for those of what is deprecated."""
    before = mujoco.get_mju_user_warning()

    def show(message: str) -> None:
        if "deprecated" not in message:
            print(f"WARNING: {message}", file=sys.stderr)

    mujoco.set_mju_user_warning(show)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def registered(name: str) -> EnvSpec:
    """The specification of an id, also of Gymnasium-Robotics if that is installed.

    Raises:
        gymnasium.error.Error: there is none.
    """
    return _with_robotics(gymnasium.spec, name)


def _with_robotics(find: Callable[..., Found], name: Any, **settings: Any) -> Found:
    """What `find` finds, if need be after Gymnasium-Robotics has registered its environments."""
    with suppress(NameNotFound):
        return find(name, **settings)
    with suppress(ModuleNotFoundError):
        import_module(ROBOTICS)
    return find(name, **settings)


def specification(environment: str, **settings: Any) -> Any:
    """The specification of an environment that can be made.

    Raises:
        UserError: it cannot be made.
    """
    with making(environment), make(environment, **settings) as made:
        return made.spec


@contextmanager
def making(environment: Any) -> Iterator[None]:
    """Turns what an environment, an id or a specification, raises into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # environments of other packages raise anything
        name = getattr(environment, "id", environment)
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"the environment {name} cannot be made: {what}{missing_extra(error)}"
        ) from error


def missing_extra(error: Exception) -> str:
    """What to install after an `error` of `make`; empty if nothing is known to be missing."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith(ROBOTICS):
        return "; install it: pip install 'dawm-jax[robotics]'"
    return ""
