"""The benchmark: every stage beside its peers and the roof of the machine, in one run."""
