"""The last layer of a reward model, fitted to every population: shared reward and drift (4)."""
