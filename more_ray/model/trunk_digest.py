"""What names a trunk: the weights below the head, and the settings that say how they are used."""

from __future__ import annotations

import hashlib
import json

from transformers import PreTrainedModel

SAMPLE = 4_096
"""Numbers of each weight that are looked at. Training changes nearly all numbers of nearly all
weights, and those of a large model need not all be read each time one is loaded."""
USE = ("rope_parameters", "rms_norm_eps", "layer_norm_eps", "hidden_act", "sliding_window")
"""Settings that change hidden states while the weights stay."""


def trunk_digest(classifier: PreTrainedModel) -> str:
    """A fingerprint of all weights but the head's, wherever, in whatever format and precision."""
    shape = classifier.config.get_text_config()
    use = {name: getattr(shape, name, None) for name in USE}
    named = [type(classifier).__name__, json.dumps(use, sort_keys=True)]
    found = hashlib.blake2b("".join(named).encode(), digest_size=16)
    for name, weight in sorted(classifier.base_model.state_dict().items()):
        found.update(f"{name} {list(weight.shape)}".encode())
        some = weight.detach().flatten()[:: max(1, weight.numel() // SAMPLE)]
        # Rounded: the same model may be loaded in fp32 or in bf16.
        found.update(some.bfloat16().float().cpu().contiguous().numpy())
    return found.hexdigest()
