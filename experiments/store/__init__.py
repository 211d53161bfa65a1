"""Files of a run: stages, checkpoints, transitions, metrics."""
