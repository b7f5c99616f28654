"""A policy that is trained on answers: the loss (3) is their negative log-likelihood.

Legend: N prompts with one answer each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from more_ray.data.packing import PackedBatch
from more_ray.model.answer_tokens import AnswerTokens, HeadInputs, head_inputs
from more_ray.model.attention import PACKED_ATTENTION


class AnswerLikelihood(nn.Module):
    """The likelihood of answers under a policy; prompt tokens do not count."""

    def __init__(self, policy: PreTrainedModel, attention: str = PACKED_ATTENTION) -> None:
        super().__init__()
        self.trained = policy
        policy.set_attn_implementation(attention)

    def forward(self, batch: PackedBatch) -> tuple[Tensor, HeadInputs]:
        """`[N, 2]` in fp32: negative log-likelihood, and how many tokens were the likeliest."""
        inputs = head_inputs(self.trained, batch, AnswerTokens.of(batch))
        right_M = (inputs.log_probability_MV.argmax(dim=-1) == inputs.tokens.token_M).float()
        sums_2N = [inputs.by_answer(value_M) for value_M in (-inputs.log_likelihood_M, right_M)]
        return torch.stack(sums_2N, dim=1), inputs
