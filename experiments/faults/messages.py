"""The messages of a run that the fault campaign looks for, with the modules that print them."""

import errno
import re

from experiments.system.disk_errors import REASONS
from experiments.system.signals import RESUME

__all__ = ["DISK_FULL", "NO_CHECKPOINT", "PART_START", "RESUME"]

DISK_FULL = REASONS[errno.ENOSPC]
NO_CHECKPOINT = "no undamaged step is left in"  # experiments/store/checkpoints.py

# The first line of each part of a run: the recording (experiments/simulation/recording.py), the
# data (experiments/pipeline.py), each stage (experiments/store/metrics.py), and the table of
# results (experiments/reporting/tables.py).
PART_START = re.compile(r"(recording|data|[\w-]+(?=: \d+ to do)|Final policies)")


def names_damaged_file(output: str, stage: str, file: str) -> bool:
    """Whether a line says that a file of a stage is damaged or missing (experiments/store/)."""
    lines = [line for line in output.splitlines() if line.startswith(f"{stage}: ")]
    return any(f"'{file}' " in line for line in lines)


def names_damage(output: str, stage: str) -> bool:
    """Whether a line says that some file of a stage is damaged, as with a damaged seal."""
    return any(line.startswith(f"{stage}: ") and "'" in line for line in output.splitlines())
