"""Compiled blocks compute what the model does."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import AutoModelForSequenceClassification, GPT2Config, LlamaConfig

from more_ray.data.packing import pack
from more_ray.errors import ModelError
from more_ray.model.attention import PACKED_ATTENTION
from more_ray.model.compilation import compile_blocks
from more_ray.model.reward_model import RewardModel

SHAPE = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "num_labels": 1,
}


def results(compiled: bool, packed: bool) -> list[list[torch.Tensor]]:
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, intermediate_size=64, num_key_value_heads=2)
    model = RewardModel(AutoModelForSequenceClassification.from_config(config)).train()
    model.use_attention(PACKED_ATTENTION if packed else None)
    if compiled:
        compile_blocks(model.classifier)
    found = []
    for tokens in (5, 9, 14, 20, 33):
        batch = pack([[3] * tokens, [4] * 7], [[3] * 4 + [6] * tokens, [5] * tokens])
        reward_N2, _ = model(batch)
        model.zero_grad()
        reward_N2.square().sum().backward()
        found.append([reward_N2, *(one.grad for one in model.parameters())])
    return found


@pytest.mark.parametrize("packed", [True, False])
def test_scores_and_gradients_are_the_same_at_every_length(packed: bool) -> None:
    torch._dynamo.reset()
    counters.clear()
    for one, other in zip(results(True, packed), results(False, packed), strict=True):
        for tensor, plain in zip(one, other, strict=True):
            torch.testing.assert_close(tensor, plain, atol=1e-5, rtol=1e-4)
    assert 1 <= counters["stats"]["unique_graphs"] <= 6


def test_a_model_without_a_list_of_blocks() -> None:
    model = AutoModelForSequenceClassification.from_config(GPT2Config(**SHAPE))
    del model.transformer.h
    with pytest.raises(ModelError, match=r"train\.compile: GPT2ForSequenceClassification"):
        compile_blocks(model)
