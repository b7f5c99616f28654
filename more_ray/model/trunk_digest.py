"""What names a trunk: the weights below the head."""

from __future__ import annotations

import hashlib

from transformers import PreTrainedModel

SAMPLE = 4_096
"""Numbers of each weight that are looked at. Training changes nearly all numbers of nearly all
weights, and those of a large model need not all be read each time one is loaded."""


def trunk_digest(classifier: PreTrainedModel) -> str:
    """A fingerprint of all weights but the head's, wherever and in whatever format they lie."""
    found = hashlib.blake2b(type(classifier).__name__.encode(), digest_size=16)
    for name, weight in sorted(classifier.base_model.state_dict().items()):
        found.update(f"{name} {list(weight.shape)}".encode())
        some = weight.detach().flatten()[:: max(1, weight.numel() // SAMPLE)]
        found.update(some.float().cpu().contiguous().numpy())
    return found.hexdigest()
