from __future__ import annotations

import copy

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray.align.divergence import answer_divergence, pack_samples
from more_ray.config import ModelConfig
from more_ray.data.formatting import encode, render, render_prompt
from more_ray.data.messages import Message
from more_ray.model.attention import PACKED_ATTENTION
from more_ray.model.loading import load_causal_lm, load_tokenizer

PROMPT: list[Message] = [{"role": "user", "content": "how are the plants watered?"}]
RESPONSES = ["with clear water.", "with clear water.", "with clear ideas, in the garden.", ""]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(ModelConfig(), 256)


@pytest.fixture(scope="module")
def base(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    return load_causal_lm(ModelConfig(), tokenizer, torch.float32, seed=0).eval()


@pytest.fixture(scope="module")
def policy(base: PreTrainedModel) -> PreTrainedModel:
    policy = copy.deepcopy(base)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return policy


def one_by_one(
    policy: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    response: str,
    max_prompt_tokens: int,
) -> float:
    """The same with a plain forward pass of each model over each answer."""
    prompt = encode(tokenizer, [render_prompt(tokenizer, PROMPT)], 1_000)[0]
    whole = encode(tokenizer, [render(tokenizer, PROMPT, response)], 1_000)[0]
    assert whole[: len(prompt)] == prompt
    tokens = torch.tensor([prompt[-max_prompt_tokens:] + whole[len(prompt) :]])
    first = min(len(prompt), max_prompt_tokens) - 1
    with torch.no_grad():
        log_p, log_q = (
            model(tokens).logits[0, first:-1].log_softmax(dim=-1) for model in (policy, base)
        )
    return torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum").item()


@pytest.mark.parametrize("max_prompt_tokens", [100, 4])
def test_each_answer_counts_with_all_of_its_tokens(
    policy: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int,
) -> None:
    expected = [
        one_by_one(policy, base, tokenizer, response, max_prompt_tokens) for response in RESPONSES
    ]
    assert min(expected) > 0.01
    packed = [copy.deepcopy(model) for model in (policy, base)]
    for model in packed:
        model.set_attn_implementation(PACKED_ATTENTION)
    batch = pack_samples(tokenizer, PROMPT, RESPONSES, max_prompt_tokens)
    assert answer_divergence(*packed, batch).tolist() == pytest.approx(expected, rel=1e-3)
    assert answer_divergence(packed[0], packed[0], batch).tolist() == [0.0] * len(RESPONSES)
