"""Writes a trained policy as files that act without this package.

    python -m experiments.export_policy --run=runs/hopper --learner=td3bc --source=dawm --seed=0 \
        --out=policy

writes policy/policy.safetensors and policy/policy.jax; docs/policies.md has what reads them.
"""

from pathlib import Path

from absl import app, flags

from dawm_jax.settings import POLICIES
from experiments.run.finished import FinishedRun
from experiments.run.policy_files import export_policy
from experiments.system.machine import check_devices, check_switches
from experiments.system.messages import ends_with_a_message

RUN = flags.DEFINE_string("run", None, "Folder of a finished run.", required=True)
LEARNER = flags.DEFINE_string("learner", None, "Which learner's policy, if there are several.")
SOURCE = flags.DEFINE_string("source", None, "Trained on which source, if there are several.")
SEED = flags.DEFINE_integer("seed", None, "Which of the run's seeds; its first unless given.")
POLICY = flags.DEFINE_enum("policy", "averaged", POLICIES, "Of which parameters.")
OUT = flags.DEFINE_string("out", None, "Folder of the new files.", required=True)
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace files of the same names there.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with ends_with_a_message("stopped: nothing is written"):
        check_switches()
        check_devices()
        run = FinishedRun.read(Path(RUN.value).expanduser())
        out = Path(OUT.value).expanduser()
        chosen = LEARNER.value, SOURCE.value, SEED.value, POLICY.value
        for path in export_policy(run, *chosen, out, OVERWRITE.value):
            print(f"wrote {path}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    app.run(main)
