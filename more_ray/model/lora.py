"""Low-rank updates of the trunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedModel

from more_ray.config import LoraConfig, ModelConfig
from more_ray.errors import ModelError

if TYPE_CHECKING:
    from peft import LoraModel


def check_targets(model: nn.Module, config: ModelConfig) -> None:
    """Look for the layers that get an update; PEFT passes over a name that there is not.

    Args:
        model: may be on the meta device.

    Raises:
        ModelError: there is no such layer.
    """
    if config.lora is None or isinstance(config.lora.targets, str):
        return
    for target in config.lora.targets:
        if not any(f".{name}".endswith(f".{target}") for name, _ in model.named_modules()):
            linear = {
                name.rpartition(".")[2]
                for name, part in model.named_modules()
                if isinstance(part, nn.Linear) and name != "score"
            }
            raise ModelError(
                f"model.lora.targets: {config.path} has no layer {target}; there are "
                f"{', '.join(sorted(linear))}"
            )


def add_lora(classifier: PreTrainedModel, config: LoraConfig) -> LoraModel:
    """Put low-rank updates into the trunk; only they and the score head are trained."""
    import peft  # takes seconds

    targets = config.targets
    adapted = peft.LoraModel(
        classifier,
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            exclude_modules=["score"],
        ),
        "default",
    )
    classifier.score.requires_grad_(True)
    return adapted
