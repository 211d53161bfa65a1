"""Policies as they act in an environment."""
