"""A trained model as a plain Hugging Face checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from more_ray.config import LoraConfig
from more_ray.model.loading import add_lora


def export(
    trained: PreTrainedModel,
    weights: dict[str, Tensor],
    lora: LoraConfig | None,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> None:
    """Write safetensors, config and tokenizer.

    `AutoModelForSequenceClassification` reads a reward model, `AutoModelForCausalLM` a policy.

    Args:
        trained: the model, of which only the config is used: its weights may lie on
            other workers.
        weights: all of its weights, gathered on this worker; LoRA updates are merged.
    """
    is_policy = trained.get_output_embeddings() is not None
    kind = AutoModelForCausalLM if is_policy else AutoModelForSequenceClassification
    whole = kind.from_config(trained.config, dtype=next(iter(weights.values())).dtype)
    adapted = add_lora(whole, lora) if lora else None
    # A head that is tied to the embeddings has no weights of its own.
    absent = whole.load_state_dict(weights, strict=False)
    assert not absent.unexpected_keys
    assert set(absent.missing_keys) <= set(whole.all_tied_weights_keys)
    if adapted is not None:
        whole = adapted.merge_and_unload()
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
