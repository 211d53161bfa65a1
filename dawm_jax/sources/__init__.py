"""Sources of transitions, by name."""
