"""What a model's config says about its architecture: blocks, positions, rotary embeddings.

A multimodal config contains the config of its language model (`get_text_config`).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


def blocks(config: PretrainedConfig) -> int:
    return config.get_text_config().num_hidden_layers


def first_blocks(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    """A copy for the first blocks only; lists with an entry for each block are cut as well."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    all_layers = text.num_hidden_layers
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == all_layers and "token" not in name:
            setattr(text, name, value[:layers])
    if hasattr(text, "attention_types"):  # GPT-Neo's form of the same list
        text.attention_types = [[[kind], 1] for kind in text.attention_layers]
    text.num_hidden_layers = layers
    return config


def most_positions(model: PreTrainedModel) -> int | None:
    """The longest text that the model takes, in tokens; None where there is no limit.

    Args:
        model: may be on the meta device.
    """
    text = model.config.get_text_config()
    distances = getattr(text, "relative_attention", False) and not text.position_biased_input
    if getattr(text, "alibi", False) or distances:
        return None
    limit = getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)
    for name, module in model.named_modules():
        # RoBERTa and its relatives number positions from the padding index + 1.
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            padding = module.padding_idx
            limit = module.num_embeddings - (0 if padding is None else padding + 1)
    for rope in _ropes(text):
        original = rope.get("original_max_position_embeddings")
        if original and rope.get("rope_type") in ("yarn", "linear") and rope.get("factor"):
            limit = max(limit or 0, int(original * rope["factor"]))
    return limit


def short_positions(config: PretrainedConfig) -> int | None:
    """Tokens above which LongRoPE embeds a text differently; None for other embeddings."""
    text = config.get_text_config()
    limits = [
        rope.get("original_max_position_embeddings")
        or getattr(text, "original_max_position_embeddings", None)
        for rope in _ropes(text)
        if rope.get("rope_type") == "longrope"
    ]
    return min((limit for limit in limits if limit), default=None)


def has_state(model: PreTrainedModel) -> bool:
    """Whether blocks carry a state from token to token (Mamba, linear attention, convolutions), not
    only keys and values."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    return model._is_stateful or any(
        kind == "linear_attention" or not kind.endswith("attention") for kind in kinds
    )


def probe_model(model: PreTrainedModel) -> PreTrainedModel:
    """A tiny model of the same class: two blocks, few words, random fp32 weights, on the CPU."""
    config = first_blocks(model.config, min(2, blocks(model.config)))
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    for part in (config, config.get_text_config()):
        part.vocab_size = 64
        for name in ("intermediate_size", "moe_intermediate_size", "ffn_dim", "n_inner"):
            if getattr(part, name, None):
                setattr(part, name, 64)
        for name in ("num_experts", "num_local_experts"):
            if getattr(part, name, None):
                setattr(part, name, max(2, getattr(part, "num_experts_per_tok", 2)))
        part.pad_token_id, part.bos_token_id, part.eos_token_id = 0, 1, 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return type(model)._from_config(config, dtype=torch.float32).eval()


def _ropes(text: PretrainedConfig) -> list[dict[str, Any]]:
    """The parameters of the rotary embeddings: one dict, or one for each kind of block."""
    ropes = getattr(text, "rope_parameters", None) or {}
    nested = [rope for rope in ropes.values() if isinstance(rope, dict)]
    return nested or [ropes]
