"""The implicit reward of a policy: `beta` times what its log-likelihood gains over a reference's.

MORE on the loss of Rafailov et al., "Direct Preference Optimization" (2023): the ranking loss (1)
with this reward, the source weights from the gradients of the language-model head.

Legend: N pairs, M answer tokens, K sources, T tokens, V vocabulary, H hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from more_ray.data.packing import PackedBatch, pack
from more_ray.model.attention import PACKED_ATTENTION, packed_hidden_states


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens after the shared ones: where each is predicted from, and whose it is."""

    predicted_from_M: Tensor
    token_M: Tensor
    pair_M: Tensor
    is_rejected_M: Tensor

    @classmethod
    def of(cls, batch: PackedBatch) -> AnswerTokens:
        """A first token of all has no predecessor and is left out."""
        columns = []
        start = 0
        for pair, (shared, chosen, rejected) in enumerate(batch.lengths):
            ends = (start + shared, chosen), (start + shared + chosen, rejected)
            for is_rejected, (begin, length) in enumerate(ends):
                for place in range(begin, begin + length):
                    before = place - 1 if place > begin else start + shared - 1
                    if before >= start:
                        columns.append((before, place, pair, is_rejected))
            start += shared + chosen + rejected
        places_M4 = torch.tensor(columns, device=batch.input_ids_T.device)
        predicted_from_M, place_M, pair_M, is_rejected_M = places_M4.unbind(dim=1)
        return cls(predicted_from_M, batch.input_ids_T[place_M], pair_M, is_rejected_M)


@dataclass(frozen=True)
class HeadInputs:
    """What the gradient of the language-model head is made from."""

    tokens: AnswerTokens
    z_MH: Tensor
    log_probability_MV: Tensor


class ImplicitReward(nn.Module):
    """Rewards of pairs by a policy that is trained and a frozen reference."""

    def __init__(self, policy: PreTrainedModel, reference: PreTrainedModel, beta: float) -> None:
        super().__init__()
        self.trained = policy
        self.beta = beta
        # Not a submodule: the engine neither trains, shards nor saves it.
        self._reference = [reference.requires_grad_(False).eval()]
        for model in (policy, reference):
            model.set_attn_implementation(PACKED_ATTENTION)

    def forward(self, batch: PackedBatch) -> tuple[Tensor, HeadInputs]:
        """Rewards `[N, 2]` (chosen, rejected) in fp32, less what both owe to shared tokens."""
        tokens = AnswerTokens.of(batch)
        inputs = _head_inputs(self.trained, batch, tokens)
        with torch.no_grad():
            reference = _head_inputs(self._reference[0].to(batch.input_ids_T.device), batch, tokens)
        gain_M = _of_tokens(inputs) - _of_tokens(reference)
        reward_2N = gain_M.new_zeros(2 * len(batch.lengths)).index_add(
            0, 2 * tokens.pair_M + tokens.is_rejected_M, self.beta * gain_M
        )
        return reward_2N.view(-1, 2), inputs

    def gradient_sums(
        self, inputs: HeadInputs, delta_N: Tensor, source_N: Tensor, sources: int
    ) -> Tensor:
        """Sum over each source's pairs of the gradient of (1) with respect to the head.

        For a bias-free head the gradient of a token's log-likelihood is `(onehot - p) z^T`, and a
        pair's is `-sigmoid(-delta) beta` times the sum over chosen less that over rejected tokens.

        Returns:
            `[K, V * H]` in fp32.
        """
        tokens = inputs.tokens
        slope_N = -self.beta * torch.sigmoid(-delta_N.float())
        weight_M = slope_N[tokens.pair_M] * (1 - 2 * tokens.is_rejected_M)
        error_MV = -inputs.log_probability_MV.exp()
        error_MV[torch.arange(len(error_MV)), tokens.token_M] += 1
        error_MV *= weight_M[:, None]
        source_M = source_N[tokens.pair_M]
        grad_KVH = [
            error_MV[source_M == source].T @ inputs.z_MH[source_M == source].float()
            for source in range(sources)
        ]
        return torch.stack(grad_KVH).flatten(start_dim=1)


def _head_inputs(model: PreTrainedModel, batch: PackedBatch, tokens: AnswerTokens) -> HeadInputs:
    z_MH = packed_hidden_states(model, batch)[tokens.predicted_from_M]
    logits_MV = model.get_output_embeddings()(z_MH).float()
    return HeadInputs(tokens, z_MH, logits_MV.log_softmax(dim=-1))


def _of_tokens(inputs: HeadInputs) -> Tensor:
    """`[M]` log-likelihood of each answer token."""
    return inputs.log_probability_MV.gather(1, inputs.tokens.token_M[:, None]).squeeze(1)


@torch.no_grad()
def runs_packed(policy: PreTrainedModel) -> bool:
    """Whether a probe pair has the likelihoods in a packed batch that it has in rows of its own."""
    chosen, rejected = [3, 4, 5, 6, 7], [3, 4, 7, 8]
    batch = pack([chosen], [rejected])
    tokens = AnswerTokens.of(batch)
    policy.eval()
    rows = []
    for row, answer in ((chosen, 3), (rejected, 2)):
        logits = policy(torch.tensor([row])).logits[0].float().log_softmax(dim=-1)
        rows += [logits[-answer - 1 + place, row[-answer + place]] for place in range(answer)]
    before = policy.config._attn_implementation
    policy.set_attn_implementation(PACKED_ATTENTION)
    try:
        packed_M = _of_tokens(_head_inputs(policy, batch, tokens))
        tolerance = 1e-4 if policy.dtype == torch.float32 else 5e-2
        return torch.allclose(packed_M, torch.stack(rows), atol=tolerance, rtol=tolerance)
    except (TypeError, ValueError, RuntimeError):
        return False
    finally:
        policy.set_attn_implementation(before)
