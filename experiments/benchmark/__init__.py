"""The benchmark: every stage against other implementations and the machine's roofline."""
