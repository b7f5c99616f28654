"""How each architecture of transformers runs, written as a table for the documentation.

python jobs/benchmarks/architectures.py > docs/models.md
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
)

from more_ray.model.architecture import has_state
from more_ray.model.batch_format import cannot_pack

SHAPE: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_labels": 1,
    "initializer_range": 0.1,
}
GROUPED = {"num_key_value_heads": 2}
HEADS = {**GROUPED, "head_dim": 16}
EXPERTS = {**GROUPED, "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "arcee": GROUPED,
    "biogpt": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "deepseek_v3": {
        **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8},
        **{"v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1},
        **{"topk_group": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1},
        "num_key_value_heads": 4,
    },
    "diffllama": GROUPED,
    "exaone4": {**GROUPED, "sliding_window": 8, "sliding_window_pattern": 2},
    "falcon": {},
    "gemma": HEADS,
    "gemma2": {**HEADS, "sliding_window": 8},
    "gemma3_text": {**HEADS, "sliding_window": 8},
    "gemma3": {},
    "glm": HEADS,
    "glm4": HEADS,
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gpt_neox": {},
    "gpt_oss": {**HEADS, **EXPERTS, "sliding_window": 8},
    "gptj": {"rotary_dim": 8},
    "helium": HEADS,
    "jamba": {
        **EXPERTS,
        "use_mamba_kernels": False,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
    },
    "jetmoe": {"num_key_value_heads": 4, "kv_channels": 16, "num_local_experts": 2},
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 8},
    "mixtral": {**EXPERTS, "sliding_window": None},
    "mpt": {"d_model": 64, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2},
    "nemotron": GROUPED,
    "olmo": GROUPED,
    "olmo2": GROUPED,
    "olmo3": {**GROUPED, "sliding_window": 8},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "persimmon": {},
    "phi": {},
    "phi3": {**GROUPED, "sliding_window": None},
    "qwen2": GROUPED,
    "qwen2_moe": {**EXPERTS, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
    "qwen3": HEADS,
    "qwen3_moe": {**HEADS, **EXPERTS, "moe_intermediate_size": 32},
    "qwen3_next": {
        **HEADS,
        **EXPERTS,
        **{"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
        **{"linear_key_head_dim": 16, "linear_value_head_dim": 16},
        **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
        "layer_types": ["linear_attention", "full_attention"],
    },
    "seed_oss": HEADS,
    "smollm3": GROUPED,
    "stablelm": GROUPED,
    "starcoder2": {**GROUPED, "sliding_window": None},
    "zamba2": {"mamba_d_state": 8, "mamba_ngroups": 1, "layers_block_type": ["mamba", "hybrid"]},
}
"""Small shapes of causal architectures that have a sequence classifier with a `score` head."""
POLICIES: dict[str, dict[str, Any]] = {
    "cohere": GROUPED,
    "granite": {**GROUPED, "logits_scaling": 8.0},
    "nanochat": GROUPED,
    "olmoe": EXPERTS,
}
"""Architectures without a `score` head."""


def small_config(name: str) -> PretrainedConfig:
    """A small config of an architecture of `ARCHITECTURES` or `POLICIES`."""
    if name == "gemma3":  # the one of several modalities holds that of its language model
        text = small_config("gemma3_text").to_dict()
        vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
        return AutoConfig.for_model(
            name, text_config=text, vision_config={**vision, "intermediate_size": 16}, num_labels=1
        )
    return AutoConfig.for_model(name, **{**SHAPE, **(ARCHITECTURES | POLICIES)[name]})


def _padded(name: str, reason: str | None) -> str:
    if reason is None:
        return "packed"
    return f"padded: {reason}" if name in ARCHITECTURES else f"refused: {reason}"


def main() -> None:
    print("# How each architecture runs\n")
    print("Packed: no padding, the shared prompt once. Padded: a row per answer, with the reason.")
    print("Policies (`objective.loss=dpo` and `sft`) are trained packed or refused.")
    print("Made by `python jobs/benchmarks/architectures.py > docs/models.md`.\n")
    print("| architecture | reward model | policy | samples |")
    print("|---|---|---|---|")
    torch.set_num_threads(1)
    for name in sorted(ARCHITECTURES | POLICIES):
        config = small_config(name)
        reward = "no sequence classifier in transformers"
        if name in ARCHITECTURES:
            reward = cannot_pack(AutoModelForSequenceClassification.from_config(config))
        policy_model = AutoModelForCausalLM.from_config(config)
        policy = cannot_pack(policy_model)
        print(
            f"| {name} | {_padded(name, reward)} | {f'refused: {policy}' if policy else 'packed'} "
            f"| {'a prompt at a time' if has_state(policy_model) else 'together'} |"
        )


if __name__ == "__main__":
    main()
