"""The losses of a micro-batch, and what lam is solved from.

Legend: N pairs of this rank's micro-batch, K sources, H numbers of the head, C = H + 4 columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from deepspeed import DeepSpeedEngine
from torch import Tensor

from more_ray.data.packing import PackedBatch
from more_ray.objective.ranking import ranking_loss, sum_by_source

Losses = Callable[[DeepSpeedEngine, PackedBatch], tuple[Tensor, Tensor]]
"""Forward; returns `loss_N`, and `sums_KC` without autograd history: the head gradient, loss,
correct pairs, tokens and pairs of each source, summed over this rank's pairs."""


@dataclass(frozen=True)
class RankingLosses:
    """The ranking loss of each pair."""

    sources: int
    use_margin: bool

    def __call__(self, engine: DeepSpeedEngine, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        reward_N2, head_inputs = engine(batch)
        delta_N = reward_N2[:, 0] - reward_N2[:, 1]
        correct_N = (delta_N > 0).float()
        if self.use_margin:
            delta_N = delta_N - batch.margin_N
        loss_N = ranking_loss(delta_N)  # (1)
        with torch.no_grad():
            grad_KH = engine.module.gradient_sums(
                head_inputs, delta_N, batch.source_N, self.sources
            )
        columns_K4 = _columns(loss_N, correct_N, batch, self.sources)
        return loss_N, torch.cat([grad_KH, columns_K4], dim=1)


@dataclass(frozen=True)
class AnswerLosses:
    """The negative log-likelihood of each chosen answer.

    No head gradients are made (H = 0), so lam cannot be solved for. What counts as correct is the
    share of an answer's tokens that were the likeliest.
    """

    sources: int

    def __call__(self, engine: DeepSpeedEngine, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        loss_N, right_N = engine(batch)[0].unbind(dim=1)  # (3)
        return loss_N, _columns(loss_N, right_N / batch.layout.own_A, batch, self.sources)


@torch.no_grad()
def _columns(loss_N: Tensor, correct_N: Tensor, batch: PackedBatch, sources: int) -> Tensor:
    """`[K, 4]` sums over each source's pairs: loss, correct, tokens, pairs."""
    column_N4 = torch.stack([loss_N, correct_N, batch.tokens_N, torch.ones_like(loss_N)], dim=1)
    return sum_by_source(column_N4, batch.source_N, sources)
