"""Aligning a language model with a reward model, and judging what came of it."""
