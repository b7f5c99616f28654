"""Packed with a shared prompt = padded = one sequence at a time through plain transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
)

from more_ray.data.packing import pack, pack_answers
from more_ray.model.attention import PACKED_ATTENTION
from more_ray.model.reward_model import RewardModel, choose_batch_format

SHAPE = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_labels": 1,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, intermediate_size=128, num_key_value_heads=2),
    "gpt-neox": GPTNeoXConfig(**SHAPE, intermediate_size=128),
    "gpt2": GPT2Config(**SHAPE),
}


def make_model(config: PretrainedConfig) -> RewardModel:
    torch.manual_seed(0)
    return RewardModel(AutoModelForSequenceClassification.from_config(config)).eval()


def make_pairs() -> tuple[list[list[int]], list[list[int]]]:
    rng = np.random.default_rng(0)
    chosen = [rng.integers(3, 100, length).tolist() for length in (10, 5, 30, 1)]
    rejected = [
        one[:shared] + rng.integers(3, 100, rest).tolist()
        for one, shared, rest in zip(chosen, (5, 0, 29, 0), (3, 9, 2, 1), strict=True)
    ]
    return chosen, rejected


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_padded_and_plain_scores_are_the_same(name: str) -> None:
    model = make_model(CONFIGS[name])
    chosen, rejected = make_pairs()
    batch = pack(chosen, rejected)
    with torch.no_grad():
        model.use_attention(PACKED_ATTENTION)
        packed_N2, z_packed = model(batch)
        model.use_attention(None)
        padded_N2, z_padded = model(batch)
        plain_N2 = torch.tensor(
            [
                [model.classifier(torch.tensor([one])).logits.item() for one in pair]
                for pair in zip(chosen, rejected, strict=True)
            ]
        )
    torch.testing.assert_close(packed_N2, padded_N2, atol=1e-5, rtol=0)
    torch.testing.assert_close(packed_N2, plain_N2, atol=1e-5, rtol=0)
    torch.testing.assert_close(z_packed, z_padded, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_and_padded_gradients_are_the_same(name: str, checkpointing: bool) -> None:
    gradients = []
    for packed in (True, False):
        model = make_model(CONFIGS[name]).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.classifier.gradient_checkpointing_enable({"use_reentrant": False})
        model.use_attention(PACKED_ATTENTION if packed else None)
        reward_N2, _ = model(pack(*make_pairs()))
        (reward_N2[:, 0] - reward_N2[:, 1]).square().sum().backward()
        gradients.append({name: one.grad for name, one in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


def test_a_score_does_not_depend_on_the_neighbours_in_the_batch() -> None:
    model = make_model(CONFIGS["llama"])
    model.use_attention(PACKED_ATTENTION)
    chosen, rejected = make_pairs()
    with torch.no_grad():
        together_N2, _ = model(pack(chosen, rejected))
        alone = [
            model(pack([one], [other]))[0] for one, other in zip(chosen, rejected, strict=True)
        ]
    torch.testing.assert_close(together_N2, torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_any_number_of_answers_may_share_a_prompt(name: str) -> None:
    model = make_model(CONFIGS[name])
    model.use_attention(PACKED_ATTENTION)
    rng = np.random.default_rng(0)
    prompts = [
        [rng.integers(3, 100, 12).tolist() for _ in range(answers)] for answers in (1, 4, 2, 3)
    ]
    prompts[1] = [prompts[1][0][:9] + answer[9:] for answer in prompts[1]]
    answers = [answer for prompt in prompts for answer in prompt]
    with torch.no_grad():
        packed_A, _ = model.score(pack_answers(prompts))
        model.use_attention(None)
        plain = [model.classifier(torch.tensor([answer])).logits.item() for answer in answers]
    torch.testing.assert_close(packed_A, torch.tensor(plain), atol=1e-5, rtol=0)


def test_auto_packs_what_can_be_packed() -> None:
    model = make_model(CONFIGS["llama"])
    choose_batch_format(model, "auto")
    assert model.packed
    windowed = make_model(
        MistralConfig(**SHAPE, intermediate_size=128, num_key_value_heads=2, sliding_window=4)
    )
    choose_batch_format(windowed, "auto")
    assert not windowed.packed
