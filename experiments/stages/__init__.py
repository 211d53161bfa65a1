"""The stages of a run: models, synthetic transitions, learners."""
