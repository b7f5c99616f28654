"""One page about runs: what was trained on what, how good it is, and how sure that is."""
