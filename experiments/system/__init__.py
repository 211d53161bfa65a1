"""The machine, its processes and signals, and what a run ran on."""
