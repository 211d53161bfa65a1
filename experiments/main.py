"""Trains and evaluates what a config describes.

python -m experiments.main --config=experiments/configs/quickstart.py
"""

from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", None, "File of settings.", lock_config=True)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/<config>/<data set> unless given."
)
DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def main(argv: list[str]) -> None:
    # Here, because the processes that record data import this module and need none of it.
    from dawm_jax.errors import UserError
    from experiments import pipeline

    logging.set_verbosity(logging.INFO if DEBUG.value else logging.ERROR)
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    config = CONFIG.value
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    workdir = WORKDIR.value or f"runs/{name}/{config.dataset.replace('/', '-')}"
    try:
        pipeline.run(config, Path(workdir))
    except UserError as error:
        if DEBUG.value:
            raise
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
