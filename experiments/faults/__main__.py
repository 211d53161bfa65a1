"""The fault campaign: runs that are killed, stopped, damaged or out of disk space, and resumed.

    python -m experiments.faults --kills=50 --out=faults.json

One run is left undisturbed. The same run is then repeated in new folders; faults are injected at
random moments of all its stages, and it is restarted until it ends. Its results must be
bit-identical to those of the undisturbed run. The exit status is 1 if any differs.
"""

import shutil
import tempfile
from pathlib import Path

from absl import app, flags, logging

from experiments.faults.trials import Campaign
from experiments.store.files import write_json
from experiments.system.provenance import versions

KILLS = flags.DEFINE_integer("kills", 50, "SIGKILLs, five per run.", lower_bound=0)
DAMAGES = flags.DEFINE_integer("damages", 12, "Damaged files, one per run.", lower_bound=0)
SIGNALS = flags.DEFINE_integer("signals", 12, "SIGTERMs and SIGINTs, one per run.", lower_bound=0)
DISKS = flags.DEFINE_integer("disks", 6, "Full disks, one per run; needs root.", lower_bound=0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of all random choices.", lower_bound=0)
OUT = flags.DEFINE_string("out", "faults.json", "Result file.")
CONFIG = flags.DEFINE_string("config", "experiments/configs/tiny.py", "Config of the run.")
SETTINGS = flags.DEFINE_multi_string(
    "set", [], "A further flag of the run, such as config.seeds=1; may be repeated."
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    arguments = [f"--config={CONFIG.value}", *(f"--{setting}" for setting in SETTINGS.value)]
    campaign = Campaign(folder, arguments, SEED.value)
    trials = campaign.run(KILLS.value, DAMAGES.value, SIGNALS.value, DISKS.value)
    failed = sum(bool(trial.failures) for trial in trials)
    faults = {kind: campaign.count(kind) for kind in dict.fromkeys(trial.kind for trial in trials)}
    result = {
        "versions": versions(),
        "run": campaign.arguments,
        "seed": SEED.value,
        "seconds_of_each_part": campaign.durations,
        "faults": faults,
        "runs": len(trials),
        "runs_that_differ": failed,
        "trials": [
            {
                "kind": trial.kind,
                "faults": trial.faults,
                "failures": trial.failures,
                "seconds": trial.seconds,
            }
            for trial in trials
        ],
    }
    write_json(Path(OUT.value), result)
    print(f"{len(trials)} runs with faults ({faults}), {failed} failed: {OUT.value}")
    if failed:
        raise SystemExit(f"error: {failed} of {len(trials)} runs failed; see {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    app.run(main)
