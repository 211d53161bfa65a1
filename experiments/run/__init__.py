"""A run: its config, checked, and its context."""
