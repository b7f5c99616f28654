"""A trained model as a plain Hugging Face checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from more_ray.config import LoraConfig
from more_ray.model.lora import add_lora
from more_ray.model.tokenizer import save_tokenizer


def export(
    trained: PreTrainedModel,
    weights: dict[str, Tensor],
    lora: LoraConfig | None,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> PreTrainedModel:
    """Write safetensors, config and tokenizer; returns what was written.

    `AutoModelForSequenceClassification` reads a reward model, `AutoModelForCausalLM` a policy.

    Args:
        trained: the model, of which only the config is used: its weights may lie on
            other workers.
        weights: all of its weights, gathered on this worker; LoRA updates are merged.
    """
    exported = type(trained)._from_config(trained.config, dtype=next(iter(weights.values())).dtype)
    adapted = add_lora(exported, lora) if lora else None
    # A head that is tied to the embeddings has no separate weights.
    absent = exported.load_state_dict(weights, strict=False)
    assert not absent.unexpected_keys
    assert set(absent.missing_keys) <= set(exported.all_tied_weights_keys)
    if adapted is not None:
        exported = adapted.merge_and_unload()
    if exported.can_generate():
        exported.generation_config = _valid(trained.generation_config)
    exported.save_pretrained(folder)
    _add_older_names(folder / "config.json")
    save_tokenizer(tokenizer, folder)
    return exported


def _add_older_names(path: Path) -> None:
    """Add rotary embeddings as transformers 4 reads them, which knows no `rope_parameters`."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in (config, config.get("text_config", {})):
        if "dtype" in part:
            part["torch_dtype"] = part["dtype"]
        rope = part.get("rope_parameters") or {}
        part |= _older_rope(rope.get("full_attention") or rope)
        if local := rope.get("sliding_attention"):
            part["rope_local_base_freq"] = local["rope_theta"]
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _older_rope(rope: dict[str, Any]) -> dict[str, Any]:
    rest = dict(rope)
    older = {}
    for name, names in OLDER.items():
        if name in rest:
            older |= dict.fromkeys(names, rest.pop(name))
    kind = rest.get("rope_type", "default")
    if kind == "longrope":  # transformers 4 accepts exactly these three
        rest = {name: rest[name] for name in ("rope_type", "short_factor", "long_factor")}
        rest["type"] = rest.pop("rope_type")
    return older if kind == "default" else {**older, "rope_scaling": rest}


OLDER = {
    "rope_theta": ("rope_theta", "rotary_emb_base"),
    "partial_rotary_factor": ("partial_rotary_factor", "rotary_pct"),
}


def _valid(generation: GenerationConfig) -> GenerationConfig:
    """The generation config, or only its BOS, EOS and pad tokens where it cannot be saved."""
    try:
        generation.validate(strict=True)
    except ValueError:
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        return GenerationConfig(**{name: getattr(generation, name) for name in names})
    return generation
