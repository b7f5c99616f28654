"""Sweeps over learning rates, schemes, seeds and combinations of sources, on Ray Tune."""
