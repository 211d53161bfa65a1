"""What every command on a run shares: its flags, and how errors and signals end it."""

import gc
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from experiments.run.config_errors import check, explain
from experiments.system import signals

CONFIG = config_flags.DEFINE_config_file("config", None, "File of settings.", lock_config=True)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/<config>/<data set> unless given."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Of several processes: host:port of the first one, the same for all."
)
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are.")
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, counted from 0.")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Find the three above on SLURM, under Open MPI or on a TPU pod."
)
PROFILE = flags.DEFINE_bool(
    "profile", False, "Write a trace of a few steps of each stage to the run's folder."
)
DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error, and libraries' logs.")


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a missing file or field ends with one short message."""
    logging.set_verbosity(logging.ERROR)
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(rest[1:])}")
        if not flags.FLAGS["config"].present:
            raise app.UsageError("--config is missing, e.g. experiments/configs/quickstart.py")
        check(CONFIG.value)
    except Exception as error:  # a config file is a program: it can raise anything
        if "--debug" in argv:
            raise
        raise SystemExit(f"error: {explain(error)}") from None
    return rest


def launch(walk: Callable[[ConfigDict, Path], object]) -> None:
    """Calls `walk` with the config and the run's folder; errors and signals are one message."""
    gc.set_threshold(1_000_000)  # tracing creates many lasting objects: gc took a quarter of it
    if not DEBUG.value:
        os.environ.setdefault(
            "HF_HUB_VERBOSITY", "error"
        )  # otherwise each retry of a download is logged
    # Libraries also log the errors that they raise.
    logging.set_verbosity(logging.INFO if DEBUG.value else logging.FATAL)
    filename = config_flags.get_config_filename(flags.FLAGS["config"])
    name = Path(filename.split(":")[0]).stem  # a colon separates the config's argument
    workdir = WORKDIR.value or f"runs/{name}/{CONFIG.value.dataset.replace('/', '-')}"
    if not DEBUG.value:
        ignore_late_writes()
    with signals.handled():
        # Here, because processes that record data import this module and need none of it.
        from dawm_jax.errors import UserError

        try:
            _walk_together(walk, local_folder(workdir))
        except UserError as error:
            if DEBUG.value:
                raise
            raise SystemExit(f"error: {error}") from None
        except signals.Interrupted as stop:
            saved = stop.saved or "finished stages"
            print(f"stopped: {saved} saved in {workdir}; {signals.RESUME}", file=sys.stderr)
            raise SystemExit(stop.status) from None


def ignore_late_writes() -> None:
    """From now on, writes that end after a checkpoint has failed print no traceback.

    TensorStore reports each of them to an event loop that the failed save has closed, and prints
    the loop's error, even while the interpreter shuts down.
    """
    usual = sys.unraisablehook

    def hook(error: Any) -> None:
        if str(error.exc_value) != "Event loop is closed":
            usual(error)

    sys.unraisablehook = hook


def local_folder(path: str) -> Path:
    """The folder that a flag names; ~ is the home directory.

    Raises:
        UserError: it is not on a disk of this machine.
    """
    from dawm_jax.errors import require

    require(
        "://" not in path,
        f"the folder is {path}; runs are written to local disks: name a folder of this machine, "
        "or mount the remote storage",
    )
    return Path(path).expanduser()


def _walk_together(walk: Callable[[ConfigDict, Path], object], workdir: Path) -> None:
    """Calls `walk` in every process, once they are connected; only the first one prints."""
    from experiments.system import machine, processes

    several = processes.join(COORDINATOR.value, PROCESSES.value, PROCESS.value, DISTRIBUTED.value)
    if not several:
        walk(CONFIG.value, workdir)
        return
    machine.check_devices()
    # All stop together, at a point they agree on.
    with signals.postponed(), ExitStack() as stack:
        if not processes.is_first():
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        walk(CONFIG.value, workdir)
