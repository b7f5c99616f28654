"""How likely a policy finds answers."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PretrainedConfig

from more_ray.data.packing import PackedBatch
from more_ray.model.answer_likelihood import AnswerLikelihood

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
CONFIGS = {"llama": LlamaConfig(**SMALL, num_key_value_heads=2), "gpt-neox": GPTNeoXConfig(**SMALL)}
PROMPTS = [[1, 2, 3], [7], [11, 12, 13, 14]]
ANSWERS = [[4, 5], [8, 9, 10, 3], [20]]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_only_the_tokens_of_answers_count_and_prompts_do_not_see_each_other(
    config: PretrainedConfig,
) -> None:
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    batch = PackedBatch.from_arrays(
        [token for both in zip(PROMPTS, ANSWERS, strict=True) for one in both for token in one],
        [[len(prompt), len(own), 0] for prompt, own in zip(PROMPTS, ANSWERS, strict=True)],
        [0, 1, 0],
        [0, 0, 0],
    )
    expected = []
    for prompt, own in zip(PROMPTS, ANSWERS, strict=True):
        labels = torch.tensor([[-100] * len(prompt) + own])
        loss = plain(torch.tensor([prompt + own]), labels=labels).loss
        expected.append(len(own) * loss.item())
    model = AnswerLikelihood(copy.deepcopy(plain))
    value_N2, _ = model(batch)
    torch.testing.assert_close(value_N2[:, 0], torch.tensor(expected), atol=1e-5, rtol=1e-5)
    assert ((value_N2[:, 1] >= 0) & (value_N2[:, 1] <= torch.tensor([2, 4, 1]))).all()
