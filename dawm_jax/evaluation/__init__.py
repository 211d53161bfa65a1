"""Metrics computed from arrays: fidelity and scores."""
