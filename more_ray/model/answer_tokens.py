"""The tokens of the answers in a packed batch, and what a language model says of each.

Legend: A answers, M answer tokens, T tokens, V vocabulary, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from more_ray.data.packing import PackedAnswers, pack_answers
from more_ray.model.attention import PACKED_ATTENTION, packed_hidden_states


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens after the shared ones: where each is predicted from, and whose it is."""

    predicted_from_M: Tensor
    token_M: Tensor
    answer_M: Tensor

    @classmethod
    def of(cls, batch: PackedAnswers) -> AnswerTokens:
        """A first token of all has no predecessor and is left out."""
        columns = []
        prompt, answer = 0, 0
        for shared, *own in batch.lengths:
            begin = prompt + shared
            for length in own:
                for place in range(begin, begin + length):
                    before = place - 1 if place > begin else prompt + shared - 1
                    if before >= prompt:
                        columns.append((before, place, answer))
                begin += length
                answer += 1
            prompt = begin
        places_M3 = torch.tensor(columns, device=batch.input_ids_T.device)
        predicted_from_M, place_M, answer_M = places_M3.unbind(dim=1)
        return cls(predicted_from_M, batch.input_ids_T[place_M], answer_M)


@dataclass(frozen=True)
class HeadInputs:
    """What goes into the language-model head for each token, and what comes out."""

    tokens: AnswerTokens
    z_MH: Tensor
    log_probability_MV: Tensor

    @property
    def log_likelihood_M(self) -> Tensor:
        """Of each answer token."""
        return self.log_probability_MV.gather(1, self.tokens.token_M[:, None]).squeeze(1)

    def by_answer(self, value_M: Tensor, answers: int) -> Tensor:
        """`[A]` sums over the tokens of each answer."""
        return value_M.new_zeros(answers).index_add(0, self.tokens.answer_M, value_M)


def head_inputs(model: PreTrainedModel, batch: PackedAnswers, tokens: AnswerTokens) -> HeadInputs:
    """Of a causal LM whose attention is `PACKED_ATTENTION`."""
    z_MH = packed_hidden_states(model, batch)[tokens.predicted_from_M]
    logits_MV = model.get_output_embeddings()(z_MH).float()
    return HeadInputs(tokens, z_MH, logits_MV.log_softmax(dim=-1))


@torch.no_grad()
def runs_packed(policy: PreTrainedModel) -> bool:
    """Whether two probe answers have the likelihoods in a packed batch that they have alone."""
    one, other = [3, 4, 5, 6, 7], [3, 4, 7, 8]
    batch = pack_answers([[one, other]])
    policy.eval()
    alone = []
    for row, answer in ((one, 3), (other, 2)):
        logits = policy(torch.tensor([row])).logits[0].float().log_softmax(dim=-1)
        alone += [logits[-answer - 1 + place, row[-answer + place]] for place in range(answer)]
    before = policy.config._attn_implementation
    policy.set_attn_implementation(PACKED_ATTENTION)
    try:
        packed_M = head_inputs(policy, batch, AnswerTokens.of(batch)).log_likelihood_M
        tolerance = 1e-4 if policy.dtype == torch.float32 else 5e-2
        return torch.allclose(packed_M, torch.stack(alone), atol=tolerance, rtol=tolerance)
    except (TypeError, ValueError, RuntimeError):
        return False
    finally:
        policy.set_attn_implementation(before)
