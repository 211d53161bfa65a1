"""Fidelity of synthetic data, measured on held-out episodes and in the simulator."""
