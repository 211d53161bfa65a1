"""Every stage beside its peers and the roof of this machine, measured in one run.

    python -m experiments.benchmark
    python -m experiments.benchmark --setup-peers
    python -m experiments.benchmark --suites=sampling,learners --sizes=paper --peers

Prints a table and writes experiments/results/benchmark/<machine>-<date>.json, with the suites in
its name unless all of them were measured; after each suite, what there is until then, as
<...>-unfinished.json. On a machine that does other things meanwhile, disturbed
repetitions are thrown out and made again, a few times.
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

ASKED = flags.DEFINE_list("suites", list(SUITES), "What is measured.")
MODELS = flags.DEFINE_list("sizes", [], f"Of {', '.join(SIZES)}; small,paper unless given.")
PEERS = flags.DEFINE_bool("peers", False, "Measure PyTorch and d3rlpy in turn with ours.")
SETUP = flags.DEFINE_bool("setup-peers", False, "Make the peers' environment, and end.")
FOLDER = flags.DEFINE_string(
    "peers-env", None, "Folder of the peers' environment; in the user's caches unless given."
)
BUDGET = flags.DEFINE_float("budget", 540.0, "Seconds a suite; its largest cases give way.", 0.0)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Repetitions of each case.", lower_bound=1)
ONLY = flags.DEFINE_string(
    "only", "", "Measure only groups with this in their description, e.g. 'batch_size 256'."
)
SMOKE = flags.DEFINE_bool("smoke", False, "The least of everything: does it work? No time counts.")
OUT = flags.DEFINE_string("out", None, "The result file; named by machine and date unless given.")


def peers_folder() -> Path:
    return Path(FOLDER.value) if FOLDER.value else environment.default_folder()


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.ERROR)
    with signals.handled():
        try:
            if SETUP.value:
                environment.set_up(peers_folder())
                print(f"the peers' environment is in {peers_folder()}")
                return
            share_cores(len(cores()))
            check_devices()
            options = campaign.asked(
                ASKED.value,
                MODELS.value,
                peers=peers_folder() if PEERS.value else None,
                budget=BUDGET.value,
                rounds=ROUNDS.value,
                smoke=SMOKE.value,
                only=ONLY.value,
            )
            out = Path(OUT.value) if OUT.value else None
            check_writable(out.parent if out else campaign.RESULTS)
            campaign.write(options, out)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        except signals.Interrupted as stop:
            print("stopped: finished suites are in the file that says so", file=sys.stderr)
            raise SystemExit(stop.status) from None


if __name__ == "__main__":
    app.run(main)
