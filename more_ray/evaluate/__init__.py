"""Scores of test pairs by any reward model, on Ray Data or on the workers of a run."""
