"""Training: the step, and the Ray Train and DeepSpeed around it."""
