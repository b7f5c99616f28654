"""The reward model: a transformers trunk and one score head."""
