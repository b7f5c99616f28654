"""A shared reward and a drift for each source, equation (4), fitted on frozen features."""
