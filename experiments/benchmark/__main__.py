"""Measures every stage against other implementations and against this machine's roofline.

    python -m experiments.benchmark
    python -m experiments.benchmark --setup-peers
    python -m experiments.benchmark --suites=sampling,learners --sizes=paper --peers

Prints a table and writes experiments/results/benchmark/<machine>-<date>.json; the name includes the
suites unless all of them are measured. After each suite, the results so far are written to
<...>-unfinished.json. A repetition that other processes disturb is discarded and repeated, at most
twice.
"""

import sys
from pathlib import Path

from absl import app, flags, logging

from dawm_jax.errors import UserError
from experiments.benchmark import campaign
from experiments.benchmark.peers import environment
from experiments.benchmark.sizes import SIZES
from experiments.benchmark.suites import SUITES
from experiments.system import signals
from experiments.system.machine import check_devices, check_writable, cores, share_cores

SUITE_NAMES = flags.DEFINE_list("suites", list(SUITES), "Suites to measure.")
SIZE_NAMES = flags.DEFINE_list(
    "sizes",
    [],
    f"Model sizes, any of {', '.join(SIZES)} (default: small,paper; with --smoke: tiny).",
)
PEERS = flags.DEFINE_bool("peers", False, "Measure PyTorch and d3rlpy too, in the same rounds.")
SETUP = flags.DEFINE_bool("setup-peers", False, "Install PyTorch and d3rlpy for --peers and exit.")
FOLDER = flags.DEFINE_string(
    "peers-env",
    None,
    "Folder of the Python environment with PyTorch and d3rlpy (default: in the user's cache).",
)
BUDGET = flags.DEFINE_float("budget", 540.0, "Seconds per suite; slow cases are dropped.", 0.0)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Repetitions of each case.", lower_bound=1)
ONLY = flags.DEFINE_string(
    "only",
    "",
    "Measure only the groups whose description contains this text, e.g. 'batch_size 256'.",
)
SMOKE = flags.DEFINE_bool(
    "smoke", False, "Measure the smallest cases, to check that they run; the times mean nothing."
)
OUT = flags.DEFINE_string("out", None, "Result file (default: named by machine and date).")


def peers_folder() -> Path:
    """The folder of the peers' environment."""
    return Path(FOLDER.value) if FOLDER.value else environment.default_folder()


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.ERROR)
    with signals.handled():
        try:
            if SETUP.value:
                environment.install_peers(peers_folder())
                print(f"PyTorch and d3rlpy are installed in {peers_folder()}")
                return
            share_cores(len(cores()))
            check_devices()
            options = campaign.build_options(
                SUITE_NAMES.value,
                SIZE_NAMES.value,
                peers=peers_folder() if PEERS.value else None,
                budget=BUDGET.value,
                rounds=ROUNDS.value,
                smoke=SMOKE.value,
                only=ONLY.value,
            )
            out = Path(OUT.value) if OUT.value else None
            check_writable(out.parent if out else campaign.RESULTS)
            campaign.write_results(options, out)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        except signals.Interrupted as stop:
            print("stopped: finished suites are in the -unfinished.json file", file=sys.stderr)
            raise SystemExit(stop.status) from None


if __name__ == "__main__":
    app.run(main)
