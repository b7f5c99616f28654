"""The method: ranking loss, head gradients, min-norm weights. No Ray, no DeepSpeed."""
