"""Models of the data: what sources train."""
