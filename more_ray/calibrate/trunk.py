"""The model below the head: what it is, and how it is loaded.

Legend: H hidden size.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray.config import ModelConfig
from more_ray.model.dtype import DTYPES
from more_ray.model.loading import (
    check_model,
    check_reward_model,
    load_classifier,
    load_reward_tokenizer,
)
from more_ray.model.location import shape_of
from more_ray.model.reward_model import RewardModel, choose_batch_format
from more_ray.model.tokenizer import training_tokenizer


def has_head(config: ModelConfig) -> bool:
    """Whether the model is a reward model, and no language model without a head."""
    if config.path == "tiny":
        return False
    architectures = shape_of(config).architectures or [""]
    return architectures[0].endswith("ForSequenceClassification")


def trunk_tokenizer(config: ModelConfig, max_length: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a reward model, or the one that a language model is trained with.

    Raises:
        ModelError: there is no such model, or its head is not a bias-free linear one, so that
            another cannot take its place.
    """
    if has_head(config):
        check_reward_model(config, max_length)
        check_model(config)
        return load_reward_tokenizer(config, max_length)
    check_model(config, max_length)
    return training_tokenizer(config, max_length)


def load_model(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype, seed: int = 0
) -> PreTrainedModel:
    """The whole classifier; a language model's head is new, drawn with the seed."""
    return load_classifier(config, tokenizer, dtype, seed)


def load_trunk(
    config: ModelConfig, tokenizer: PreTrainedTokenizerBase, dtype: str, device: str
) -> RewardModel:
    """What gives the last hidden states, on its device."""
    model = RewardModel(load_model(config, tokenizer, DTYPES[dtype])).eval().to(device)
    choose_batch_format(model, config.batch_format)
    return model


def given_head(config: ModelConfig, classifier: PreTrainedModel) -> NDArray[np.float64] | None:
    """`[H]`, the head that a reward model brings; None for a language model."""
    return classifier.score.weight.detach().double().numpy()[0] if has_head(config) else None
