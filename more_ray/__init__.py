"""Reward-model training from several human-preference sources on Ray."""
