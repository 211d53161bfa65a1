"""Writes one HTML page that shows data, what was synthesized from them, and what was learnt.

    python -m experiments.inspect --run=runs/hopper
    python -m experiments.inspect --dataset=local/hopper/medium-v0

The page needs no other file and no network; docs/inspect.md describes it.
"""

from absl import app, flags, logging

from experiments.reporting.page.build import write_page
from experiments.system.messages import ends_with_a_message

RUN = flags.DEFINE_string("run", None, "Folder of a run.")
DATASET = flags.DEFINE_string("dataset", None, "Id of a data set, in place of a run.")
OUTPUT = flags.DEFINE_string(
    "output", None, "The page; inspect.html in the run's folder, or <data set>.html, unless given."
)
FILMS = flags.DEFINE_integer("films", 4, "Films of each source.", 0, 100)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a page of the same name.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.ERROR)  # jax reports each backend that it does not find
    with ends_with_a_message("stopped: no page is written; run the same command to start again"):
        path = write_page(
            RUN.value, DATASET.value, OUTPUT.value, films=FILMS.value, overwrite=OVERWRITE.value
        )
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    app.run(main)
