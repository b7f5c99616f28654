"""Answers sampled from a language model, scored, and the best of each prompt kept."""
