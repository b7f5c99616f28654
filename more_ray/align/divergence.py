"""The divergence of a policy from the base that it was fine-tuned from.

Legend: S answers to one prompt, M answer tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from more_ray.data.formatting import NO_LIMIT, encode, render, render_prompt, shared_prefix
from more_ray.data.messages import Message
from more_ray.data.packing import PackedBatch
from more_ray.model.answer_tokens import AnswerTokens, head_inputs


def pack_samples(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[Message],
    responses: Sequence[str],
    max_prompt_tokens: int,
) -> PackedBatch:
    """The answers to a prompt, packed; each keeps all its tokens, even if answers start alike."""
    question = render_prompt(tokenizer, prompt)
    before = encode(tokenizer, [question], NO_LIMIT)[0]
    texts = [render(tokenizer, prompt, response) for response in responses]
    own = []
    for tokens in encode(tokenizer, texts, NO_LIMIT):
        own.append(tokens[shared_prefix([*before, -1], tokens) :])
    shared = encode(tokenizer, [question], max_prompt_tokens)[0]
    tokens = np.concatenate([shared, *own])
    lengths = np.array([[len(shared), *map(len, own)]])
    return PackedBatch.from_arrays(tokens, lengths, np.zeros(1), np.zeros(1))


@torch.no_grad()
def answer_divergence(policy: PreTrainedModel, base: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """`[S]` in nats: KL(policy || base) of the next token, summed over each answer's tokens.

    Its mean over the policy's own samples is the divergence of whole answers, with less variance
    than that of the samples' log-ratios. Both models have the attention `PACKED_ATTENTION`.
    """
    tokens = AnswerTokens.of(batch)
    log_p_MV = head_inputs(policy, batch, tokens).log_probability_MV
    log_q_MV = head_inputs(base, batch, tokens).log_probability_MV
    kl_M = (log_p_MV.exp() * (log_p_MV - log_q_MV)).sum(dim=-1)
    answers = len(batch.segments[0].answers)
    return kl_M.new_zeros(answers).index_add(0, tokens.answer_M, kl_M)
