"""A fault campaign: runs that are killed, stopped, damaged and starved of disk end the same.

    python -m experiments.faults --kills=50 --out=faults.json

One run is left alone. Then the same run is made again and again in fresh folders, hurt at random
moments of every stage and started again until it ends, and every result is compared with the first
one's, bit for bit. Exit status 1 if anything differs.
"""

import shutil
import tempfile
from pathlib import Path

from absl import app, flags, logging

from experiments.faults.trials import Campaign
from experiments.store.files import write_json
from experiments.system.provenance import versions

KILLS = flags.DEFINE_integer("kills", 50, "SIGKILLs, five in a run.", lower_bound=0)
DAMAGES = flags.DEFINE_integer("damages", 12, "Files damaged.", lower_bound=0)
SIGNALS = flags.DEFINE_integer("signals", 12, "SIGTERMs and SIGINTs.", lower_bound=0)
DISKS = flags.DEFINE_integer("disks", 6, "Full disks.", lower_bound=0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of all choices.", lower_bound=0)
OUT = flags.DEFINE_string("out", "faults.json", "The result file.")
CONFIG = flags.DEFINE_string("config", "experiments/configs/tiny.py", "What is run.")
SETTINGS = flags.DEFINE_multi_string("set", [], "Another flag of the run, as config.seeds=1.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    arguments = [f"--config={CONFIG.value}", *(f"--{setting}" for setting in SETTINGS.value)]
    campaign = Campaign(folder, arguments, SEED.value)
    trials = campaign.run(KILLS.value, DAMAGES.value, SIGNALS.value, DISKS.value)
    differ = sum(bool(trial.wrong) for trial in trials)
    faults = {kind: campaign.count(kind) for kind in dict.fromkeys(trial.kind for trial in trials)}
    result = {
        "versions": versions(),
        "run": campaign.arguments,
        "seed": SEED.value,
        "seconds_of_each_part": campaign.lasts,
        "faults": faults,
        "runs": len(trials),
        "runs_that_differ": differ,
        "trials": [
            {"kind": t.kind, "faults": t.faults, "wrong": t.wrong, "seconds": t.seconds}
            for t in trials
        ],
    }
    write_json(Path(OUT.value), result)
    print(f"{faults} in {len(trials)} runs, of which {differ} differ: {OUT.value}")
    if differ:
        raise SystemExit(f"error: {differ} runs differ; they are kept in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    app.run(main)
