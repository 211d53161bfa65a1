"""Measures every stage against other implementations and against this machine's roofline.

    python -m experiments.benchmark
    python -m experiments.benchmark --setup-peers
    python -m experiments.benchmark --suites=sampling,learners --sizes=paper --peers
    python -m experiments.benchmark --campaign=gpu --minutes=8

Prints a table and writes experiments/results/benchmark/<machine>-<date>.json; the name includes the
suites unless all of them are measured. After each group, the results so far are written to
<...>-unfinished.json. A repetition that other processes disturb is discarded and repeated, at most
twice. A campaign chooses what is measured, and writes a file for each of its steps.
"""

import sys
from pathlib import Path

from absl import app, flags, logging

from dawm_jax.errors import UserError, require, require_choice
from experiments.benchmark import campaign
from experiments.benchmark.gpu.main import run_campaign
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
CAMPAIGN = flags.DEFINE_string(
    "campaign", None, "'gpu': checks and measurements for a GPU that is there for a few minutes."
)
MINUTES = flags.DEFINE_float("minutes", 8.0, "Time of the campaign, compilation included.", 0.1)

WITHOUT_CAMPAIGN = (SUITE_NAMES, SIZE_NAMES, PEERS, SETUP, FOLDER, BUDGET, ROUNDS, ONLY)


def peers_folder() -> Path:
    """The folder of the peers' environment."""
    return Path(FOLDER.value) if FOLDER.value else environment.default_folder()


def check_campaign() -> bool:
    """Whether a campaign is requested.

    Raises:
        UserError: its name is unknown, or a flag does not go with the others.
    """
    if CAMPAIGN.value is None:
        require(not MINUTES.present, "--minutes is for --campaign; without it, use --budget")
        return False
    require_choice("campaign", CAMPAIGN.value, ("gpu",))
    others = ", ".join(f"--{flag.name}" for flag in WITHOUT_CAMPAIGN if flag.present)
    require(not others, f"--campaign chooses what to measure and how; leave out {others}")
    return True


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
            out = Path(OUT.value) if OUT.value else None
            if check_campaign():
                raise SystemExit(run_campaign(MINUTES.value, SMOKE.value, out))
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
            check_writable(out.parent if out else campaign.RESULTS)
            failed = campaign.write_results(options, out)["failed"]
            if failed:
                raise SystemExit(f"failed: {'; '.join(failed)}")
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        except signals.Interrupted as stop:
            print("stopped: finished groups are in the -unfinished.json file", file=sys.stderr)
            raise SystemExit(stop.status) from None


if __name__ == "__main__":
    app.run(main)
