"""How good and how well calibrated a reward model is: pure functions over its scores."""
