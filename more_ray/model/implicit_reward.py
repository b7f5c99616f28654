"""The implicit reward of a policy: `beta` times its log-likelihood gain over a reference.

MORE on the loss of Rafailov et al., "Direct Preference Optimization" (2023): the ranking loss (1)
with this reward, the source weights from the gradients of the language-model head.

Legend: N pairs, A = 2N answers, M answer tokens, K sources, V vocabulary, H hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from more_ray.data.packing import PackedBatch
from more_ray.model.answer_tokens import AnswerTokens, HeadInputs, head_inputs
from more_ray.model.attention import PACKED_ATTENTION
from more_ray.objective.ranking import sum_by_source


class ImplicitReward(nn.Module):
    """Rewards of pairs from a trained policy and a frozen reference."""

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel,
        beta: float,
        attention: str = PACKED_ATTENTION,
    ) -> None:
        super().__init__()
        self.trained = policy
        self.beta = beta
        # Not a submodule: the engine neither trains, shards nor saves it.
        self._reference = [reference.requires_grad_(False).eval()]
        for model in (policy, reference):
            model.set_attn_implementation(attention)

    def forward(self, batch: PackedBatch) -> tuple[Tensor, HeadInputs]:
        """Rewards `[N, 2]` (chosen, rejected) in fp32, without the part from shared tokens."""
        tokens = AnswerTokens.of(batch)
        inputs = head_inputs(self.trained, batch, tokens)
        with torch.no_grad():
            reference = head_inputs(self._reference[0].to(batch.input_ids_T.device), batch, tokens)
        gain_M = inputs.log_likelihood_M - reference.log_likelihood_M
        reward_A = inputs.by_answer(self.beta * gain_M)
        return reward_A.unflatten(0, (-1, 2)), inputs

    def gradient_sums(
        self, inputs: HeadInputs, slope_N: Tensor, source_N: Tensor, sources: int
    ) -> tuple[Tensor, Tensor]:
        """Sum over each source's pairs of the gradient of their losses for the head.

        For a bias-free head the gradient of a token's log-likelihood is `(onehot - p) z^T`, and a
        pair's is `slope beta` times the sum over chosen minus that over rejected tokens.

        Args:
            slope_N: as in `head_gradient_sums`.

        Returns:
            `[K, V * H]` in fp32; and `[K]`, the sums of the squared norms of the pairs' own
            gradients.
        """
        tokens = inputs.tokens
        pair_M, is_rejected_M = tokens.answer_M // 2, tokens.answer_M % 2
        weight_M = (self.beta * slope_N)[pair_M] * (1 - 2 * is_rejected_M)
        error_MV = -inputs.log_probability_MV.exp()
        error_MV[torch.arange(len(error_MV)), tokens.token_M] += 1
        error_MV *= weight_M[:, None]
        source_M = source_N[pair_M]
        grad_KVH = error_MV.new_empty(sources, error_MV.shape[1], inputs.z_MH.shape[1])
        for source, grad_VH in enumerate(grad_KVH):
            (mine,) = torch.nonzero(source_M == source, as_tuple=True)
            torch.mm(error_MV[mine].T, inputs.z_MH[mine].float(), out=grad_VH)
        square_K = sum_by_source(_squares(error_MV, inputs), source_N, sources)
        return grad_KVH.flatten(start_dim=1), square_K


def _squares(error_MV: Tensor, inputs: HeadInputs) -> Tensor:
    """`[N]`, the squared norm of `error^T z` over the tokens of each pair.

    It is the sum of `(error error^T) * (z z^T)`: no more work than the product while a pair has no
    more than H tokens, and no `[V, H]` for each.
    """
    tokens_N = inputs.tokens.tokens_A.unflatten(0, (-1, 2)).sum(dim=1).tolist()
    parts = zip(error_MV.split(tokens_N), inputs.z_MH.float().split(tokens_N), strict=True)
    return torch.stack([((error @ error.T) * (z @ z.T)).sum() for error, z in parts])
