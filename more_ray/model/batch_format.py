"""Whether a model can run packed answers."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from more_ray.data.packing import pack_answers
from more_ray.model.architecture import probe_model
from more_ray.model.attention import PACKED_ATTENTION, packed_hidden_states

PROBE = [[[3, 4, 5, 6, 7], [3, 4, 7, 8]], [[8, 9], [9, 8, 7]]]
"""Answers to two prompts, as tokens."""
TOLERANCE = 1e-4
"""Of a hidden state in fp32, relative to its size; a wrong mask or position changes it far more."""


@torch.no_grad()
def cannot_pack(model: PreTrainedModel) -> str | None:
    """Why the model cannot run packed answers; None where it can.

    It must let its attention be replaced, and packed answers must have the hidden states that each
    has alone: told by a small new model of its kind, so that neither weights nor precision matter.
    """
    name = type(model).__name__
    text = model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    windowed = getattr(text, "sliding_window", None) and not hasattr(text, "layer_types")
    if kinds != {"full_attention"} or windowed:
        return f"{name} has blocks of other kinds than full attention"
    if not model._supports_attention_backend:
        return f"{name} has an attention of its own"
    batch = pack_answers(PROBE)
    try:
        probe = probe_model(model)
        probe.set_attn_implementation("eager")
        if _changes_logits(probe):
            return f"{name} scales or caps its logits"
        alone = [_alone(probe, answer) for prompt in PROBE for answer in prompt]
        probe.set_attn_implementation(PACKED_ATTENTION)
        packed = batch.rows(packed_hidden_states(probe, batch))
    except TypeError:
        return f"{name} does not hand on to its attention what is packed"
    except (ValueError, RuntimeError) as error:
        return f"{name}: {str(error).splitlines()[0]}"
    same = all(
        torch.linalg.norm(one - other) <= TOLERANCE * torch.linalg.norm(other)
        for one, other in zip(packed, alone, strict=True)
    )
    return None if same else f"{name} gives other hidden states to packed answers"


def _changes_logits(probe: PreTrainedModel) -> bool:
    """Whether a causal LM does more to its hidden states than its head does."""
    head = probe.get_output_embeddings()
    if head is None:
        return False
    head.weight.normal_()  # so that a cap is seen
    tokens = torch.tensor([PROBE[0][0]])
    logits = head(probe.base_model(tokens, use_cache=False).last_hidden_state)
    return not torch.allclose(probe(tokens, use_cache=False).logits, logits, rtol=TOLERANCE)


def _alone(model: PreTrainedModel, answer: list[int]) -> Tensor:
    return model.base_model(torch.tensor([answer]), use_cache=False).last_hidden_state[0]
