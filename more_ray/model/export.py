"""A trained reward model as a plain Hugging Face checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from more_ray.config import LoraConfig
from more_ray.model.loading import add_lora


def export(
    classifier: PreTrainedModel,
    weights: dict[str, Tensor],
    lora: LoraConfig | None,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> None:
    """Write safetensors, config and tokenizer; `AutoModelForSequenceClassification` reads them.

    Args:
        classifier: the trained model, of which only the config is used: its weights may lie on
            other workers.
        weights: all of its weights, gathered on this worker; LoRA updates are merged.
    """
    dtype = weights["score.weight"].dtype
    whole = AutoModelForSequenceClassification.from_config(classifier.config, dtype=dtype)
    adapted = add_lora(whole, lora) if lora else None
    whole.load_state_dict(weights)
    if adapted is not None:
        whole = adapted.merge_and_unload()
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
