"""The fault campaign: runs with injected faults must have the results of an undisturbed run."""
