"""Figures from arrays: fidelity and scores."""
