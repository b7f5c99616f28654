"""Whether a model can run packed answers, and with which attention."""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from transformers import PreTrainedModel

from more_ray.data.packing import pack_answers
from more_ray.errors import ModelError
from more_ray.model.architecture import probe_model
from more_ray.model.attention import PACKED_ATTENTION, VARLEN_ATTENTION, packed_hidden_states

PROBE = [[[3, 4, 5, 6, 7], [3, 4, 7, 8]], [[8, 9], [9, 8, 7]]]
"""Token ids of two answers to each of two prompts."""
TOLERANCE = 1e-4
"""Largest relative error of a hidden state in fp32; a wrong mask or position causes far more."""
HALF_TOLERANCE = 0.05
"""The same in bf16 or fp16."""


def choose_attention(model: PreTrainedModel, wanted: str, device: torch.device | str) -> str | None:
    """The attention to run packed answers with on `device`, in the model's precision; None where
    answers are padded.

    Args:
        wanted: `auto` means packed where the model can run it.

    Raises:
        ModelError: `packed` is wanted of a model that cannot.
    """
    if wanted == "padded":
        return None
    log = logging.getLogger(__name__)
    if reason := cannot_pack(model):
        if wanted == "packed":
            raise ModelError(f"model.batch_format: packed given; {reason}")
        log.info("answers are padded: %s", reason)
        return None
    attention = packed_attention_on(model, device)
    log.info("answers are packed, attention %s", attention)
    return attention


def packed_attention_on(model: PreTrainedModel, device: torch.device | str) -> str:
    """The fastest attention that is correct for a model that can run packed answers."""
    if torch.device(device).type != "cuda" or model.dtype not in (torch.bfloat16, torch.float16):
        return PACKED_ATTENTION
    reason = cannot_use_varlen(probe_model(model).to(device, model.dtype))
    if reason is None:
        return VARLEN_ATTENTION
    logging.getLogger(__name__).warning(
        "packed attention makes a kernel call per answer: %s", reason
    )
    return PACKED_ATTENTION


@torch.enable_grad()
def cannot_use_varlen(probe: PreTrainedModel) -> str | None:
    """Why one attention call for all answers is wrong on this device and in this precision; None
    where a small model has the same hidden states and gradients as with a call per answer."""
    batch = pack_answers(PROBE).to(probe.device)
    results = []
    try:
        for attention in (PACKED_ATTENTION, VARLEN_ATTENTION):
            probe.set_attn_implementation(attention)
            probe.zero_grad()
            hidden_TH = packed_hidden_states(probe, batch)
            hidden_TH[batch.last_A].float().square().sum().backward()
            gradients = [w.grad.flatten() for w in probe.parameters() if w.grad is not None]
            results.append((hidden_TH.detach(), torch.cat(gradients)))
    except (ValueError, RuntimeError) as error:
        return str(error).splitlines()[0]
    same = all(
        torch.linalg.norm((expected - found).float())
        <= HALF_TOLERANCE * torch.linalg.norm(found.float())
        for expected, found in zip(*results, strict=True)
    )
    return None if same else "the kernel for all answers gives different results here"


@torch.no_grad()
def cannot_pack(model: PreTrainedModel) -> str | None:
    """Why the model cannot run packed answers; None where it can.

    Its attention must be replaceable, and packed answers must have the hidden states that each has
    alone. A small new model of the same class is tested, so neither weights nor precision matter.
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
        return f"{name} does not pass the packed layout on to its attention"
    except (ValueError, RuntimeError) as error:
        return f"{name}: {str(error).splitlines()[0]}"
    same = all(
        torch.linalg.norm(found - expected) <= TOLERANCE * torch.linalg.norm(expected)
        for found, expected in zip(packed, alone, strict=True)
    )
    return None if same else f"{name} gives packed answers different hidden states"


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
