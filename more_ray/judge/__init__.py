"""A judge, behind any OpenAI-compatible endpoint, that says which of two answers is better."""
