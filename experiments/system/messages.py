"""How a command without a run ends early: with one line on the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from absl import logging

from dawm_jax.errors import UserError
from experiments.system import signals


@contextmanager
def ends_with_a_message(stopped: str) -> Iterator[None]:
    """Within it, an error of the user or a signal ends the program with one line on stderr.

    Args:
        stopped: the line after a signal.
    """
    logging.set_verbosity(logging.FATAL)  # libraries also log the errors that they raise
    with signals.handled():
        try:
            yield
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        except signals.Interrupted as stop:
            print(stopped, file=sys.stderr)
            raise SystemExit(stop.status) from None
