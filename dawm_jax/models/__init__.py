"""Models that sources train on the data."""
