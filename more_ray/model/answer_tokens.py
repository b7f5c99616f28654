"""The tokens of the answers in a packed batch, and what a language model predicts for each.

Legend: A answers, M answer tokens, T tokens, V vocabulary, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from more_ray.data.packing import PackedAnswers
from more_ray.model.architecture import short_positions
from more_ray.model.attention import packed_hidden_states


@dataclass(frozen=True)
class AnswerTokens:
    """The answers' own tokens: the position that predicts each, and which answer it belongs to."""

    predicted_from_M: Tensor
    token_M: Tensor
    answer_M: Tensor
    tokens_A: Tensor

    @classmethod
    def of(cls, batch: PackedAnswers) -> AnswerTokens:
        """The first token of a sequence is left out, since no token predicts it."""
        layout = batch.layout
        tokens_A = layout.own_A - (layout.before_A < 0).long()
        tokens = sum(own - (not shared) for shared, answers in batch.segments for own in answers)
        answer_M = torch.arange(len(tokens_A), device=tokens_A.device).repeat_interleave(
            tokens_A, output_size=tokens
        )
        ends_A = tokens_A.cumsum(dim=0)
        to_end_M = ends_A[answer_M] - 1 - torch.arange(tokens, device=tokens_A.device)
        position_M = layout.last_A[answer_M] - to_end_M
        is_first_M = to_end_M == layout.own_A[answer_M] - 1
        predicted_from_M = torch.where(is_first_M, layout.before_A[answer_M], position_M - 1)
        return cls(predicted_from_M, batch.input_ids_T[position_M], answer_M, tokens_A)


@dataclass(frozen=True)
class HeadInputs:
    """The input and output of the language-model head for each answer token."""

    tokens: AnswerTokens
    z_MH: Tensor
    log_probability_MV: Tensor

    @property
    def log_likelihood_M(self) -> Tensor:
        """`[M]`, the log-likelihood of each answer token."""
        return self.log_probability_MV.gather(1, self.tokens.token_M[:, None]).squeeze(1)

    def by_answer(self, value_M: Tensor) -> Tensor:
        """`[A]` sums over the tokens of each answer, in the same order every time."""
        # Torch's stubs leave it out.
        return torch.segment_reduce(value_M, "sum", lengths=self.tokens.tokens_A, unsafe=True)  # ty: ignore[missing-attribute]


def head_inputs(model: PreTrainedModel, batch: PackedAnswers, tokens: AnswerTokens) -> HeadInputs:
    """Run a causal LM, with one of our attentions, on the tokens of the answers."""
    limit = short_positions(model.config)
    if limit is None:
        z_MH = packed_hidden_states(model, batch)[tokens.predicted_from_M]
    else:
        z_MH = _by_length(model, batch, limit)
    logits_MV = model.get_output_embeddings()(z_MH).float()
    return HeadInputs(tokens, z_MH, logits_MV.log_softmax(dim=-1))


def _by_length(model: PreTrainedModel, batch: PackedAnswers, limit: int) -> Tensor:
    """`[M, H]` hidden states that predict the answers' tokens.

    Answers of at most `limit` tokens and longer ones run separately, since LongRoPE embeds all
    answers of a batch according to the longest.
    """
    z, answer = [], []
    for side, index_A in batch.by_length(limit):
        tokens = AnswerTokens.of(side)
        z.append(packed_hidden_states(model, side)[tokens.predicted_from_M])
        answer.append(index_A[tokens.answer_M])
    return torch.cat(z)[torch.cat(answer).argsort(stable=True)]
