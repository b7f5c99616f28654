"""The Ray Serve deployment that scores answers."""
