"""The reward that a policy implies, and the gradient of its head."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
)

from more_ray.data.packing import pack
from more_ray.model.batch_format import cannot_pack
from more_ray.model.implicit_reward import ImplicitReward
from more_ray.objective.ranking import ranking_loss, ranking_slope, sum_by_source

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
CONFIGS = [
    LlamaConfig(**SMALL, num_key_value_heads=2),
    LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=True),
    GPTNeoXConfig(**SMALL),
]
CHOSEN = [[1, 2, 3, 4, 5], [7, 8, 9], [11, 12, 13, 14], [20, 21]]
REJECTED = [[1, 2, 6], [7, 10, 12, 13], [11, 12, 13, 15], [22, 23, 24]]
SOURCE = [0, 1, 0, 2]
BETA = 0.3


def models(config: PretrainedConfig) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    reference = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    policy = copy.deepcopy(reference)
    for parameter in policy.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return policy, reference


@torch.no_grad()
def log_likelihood(model: torch.nn.Module, sequence: list[int], start: int) -> torch.Tensor:
    """The log-likelihood of the tokens from `start` on, by plain transformers."""
    logits = model(torch.tensor([sequence])).logits[0].log_softmax(dim=-1)
    return sum(logits[place - 1, sequence[place]] for place in range(max(start, 1), len(sequence)))


@pytest.mark.parametrize("config", CONFIGS, ids=["llama", "llama-tied", "gpt-neox"])
def test_the_reward_is_the_gain_in_log_likelihood(config: PretrainedConfig) -> None:
    policy, reference = models(config)
    expected = [
        [
            BETA * (log_likelihood(policy, row, start) - log_likelihood(reference, row, start))
            for row in pair
        ]
        for *pair, start in zip(CHOSEN, REJECTED, [2, 1, 3, 0], strict=True)
    ]
    reward_N2, _ = ImplicitReward(policy, reference, BETA)(pack(CHOSEN, REJECTED))
    torch.testing.assert_close(reward_N2, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_an_untrained_policy_has_no_reward() -> None:
    policy, _ = models(CONFIGS[0])
    reward_N2, _ = ImplicitReward(policy, copy.deepcopy(policy), BETA)(pack(CHOSEN, REJECTED))
    assert torch.equal(reward_N2, torch.zeros(4, 2))


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[2]], ids=["llama", "gpt-neox"])
@pytest.mark.parametrize("share", [None, [1.0, 0.5, 0.8, 0.6]])
def test_the_closed_form_is_the_gradient_of_the_head(
    config: PretrainedConfig, share: list[float] | None
) -> None:
    policy, reference = models(config)
    model = ImplicitReward(policy, reference, BETA)
    batch = pack(CHOSEN, REJECTED, source=SOURCE, share=share)
    reward_N2, inputs = model(batch)
    delta_N = reward_N2[:, 0] - reward_N2[:, 1]
    with torch.no_grad():
        slope_N = ranking_slope(delta_N, batch.share_N)
        sums_KD, square_K = model.gradient_sums(inputs, slope_N, batch.source_N, 3)
    loss_N = ranking_loss(delta_N, batch.share_N)
    head = policy.get_output_embeddings().weight
    grads = [torch.autograd.grad(loss, head, retain_graph=True)[0] for loss in loss_N]
    grad_NVH = torch.stack(grads)
    expected_KVH = sum_by_source(grad_NVH, batch.source_N, 3)
    torch.testing.assert_close(sums_KD.view_as(expected_KVH), expected_KVH, atol=1e-6, rtol=1e-5)
    square_N = grad_NVH.square().sum(dim=(1, 2))
    torch.testing.assert_close(square_K, sum_by_source(square_N, batch.source_N, 3))


def test_a_model_with_windowed_attention_is_found_out() -> None:
    torch.manual_seed(0)
    assert not cannot_pack(AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[0])))
    windowed = MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=2)
    assert cannot_pack(AutoModelForCausalLM.from_config(windowed))
