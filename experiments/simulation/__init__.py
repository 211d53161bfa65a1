"""Environments: evaluation, simulation from given states, recording."""
