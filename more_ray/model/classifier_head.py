"""The head of a sequence classifier, whose outputs become one reward.

Legend: C outputs, H hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from more_ray.config import ModelConfig
from more_ray.errors import ModelError


def has_plain_head(classifier: PreTrainedModel) -> bool:
    """Whether its head is a bias-free linear layer `score`, as causal LMs get."""
    head = getattr(classifier, "score", None)
    return isinstance(head, nn.Linear) and head.bias is None


def check_plain_head(classifier: PreTrainedModel) -> None:
    """Raises ModelError where a reward head cannot be trained on the model."""
    if not has_plain_head(classifier):
        found = ", ".join(f"`{name}` ({type(head).__name__})" for name, head in _head(classifier))
        raise ModelError(
            f"model.path: {type(classifier).__name__} has no bias-free `score` head but {found}; "
            "allowed in training and calibration: causal LMs (LLaMA, GPT-NeoX, Qwen, Mistral, "
            "GPT-2 ...), which have one"
        )


def is_classifier(shape: PretrainedConfig) -> bool:
    """Whether a checkpoint with this config was written by a sequence classifier."""
    return next(iter(shape.architectures or []), "").endswith("ForSequenceClassification")


def output_weights(config: ModelConfig, shape: PretrainedConfig) -> Tensor:
    """`[C]` in fp32: how much each output of a checkpoint counts in the reward.

    A checkpoint without a classifier's head gets one output.

    Args:
        shape: the checkpoint's config.

    Raises:
        ModelError: `config.output` is not set for several outputs, or does not fit.
    """
    labels = list(shape.id2label.values()) if is_classifier(shape) else ["the reward"]
    wanted = config.output
    if wanted is None and len(labels) == 1:
        wanted = 0
    if isinstance(wanted, list) and len(wanted) == len(labels):
        return torch.tensor(wanted)
    if isinstance(wanted, int) and wanted < len(labels):
        return torch.eye(len(labels))[wanted]
    named = ", ".join(f"{index} ({label})" for index, label in enumerate(labels))
    several = f"one of its outputs {named}, or a list of {len(labels)} weights of their sum"
    raise ModelError(
        f"model.output: {'none' if wanted is None else wanted} given for {config.path}; allowed: "
        + (several if len(labels) > 1 else "0 or a list of one weight, as it has one output")
    )


def to_one_output(classifier: PreTrainedModel, weight_C: Tensor, dtype: torch.dtype) -> None:
    """Replace the outputs of a classifier by their weighted sum, in place.

    Args:
        dtype: of the new head.

    Raises:
        ModelError: its outputs do not come from one linear layer.
    """
    layers = [
        layer
        for _, head in _head(classifier)
        for layer in head.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == len(weight_C)
    ]
    if not layers:
        raise ModelError(
            f"model.output: the head of {type(classifier).__name__} ends in no linear layer of "
            f"{len(weight_C)} outputs; allowed: a classifier with one output"
        )
    last = layers[-1]
    weight_1C = weight_C[None]
    with torch.no_grad():
        last.weight = nn.Parameter((weight_1C @ last.weight.float()).to(dtype))
        if last.bias is not None:
            last.bias = nn.Parameter((weight_1C @ last.bias.float()).to(dtype))
    last.out_features = 1
    classifier.num_labels = classifier.config.num_labels = 1
    classifier.config.problem_type = None  # it said how several outputs belong together


def _head(classifier: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    """What follows the base model, with names."""
    return [
        (name, part)
        for name, part in classifier.named_children()
        if part is not classifier.base_model
    ]
