"""The algorithm: one step of MORE.

Legend: N pairs of this rank's micro-batch, K sources, H numbers of the head, C = H + 4 columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from deepspeed import DeepSpeedEngine
from torch import Tensor

from more_ray.data.packing import PackedBatch
from more_ray.objective.ranking import ranking_loss, sum_by_source
from more_ray.objective.weighting import Weighting
from more_ray.train.exchange import SourceStats, pair_weights


def micro_step(
    engine: DeepSpeedEngine,
    batch: PackedBatch,
    weighting: Weighting,
    sources: int,
    scope: str,
    use_margin: bool,
) -> SourceStats | None:
    """Forward, lam, weighted loss, backward; the optimizer moves at accumulation boundaries.

    Returns:
        Statistics of the micro-batch on rank 0, None on the others.
    """
    loss_N, sums_KC = forward(engine, batch, sources, use_margin)
    weight_K, stats = pair_weights(sums_KC, weighting, scope)  # (9)
    loss = (weight_K[batch.source_N] * loss_N).sum()  # (7)
    engine.backward(loss)
    engine.step()
    return stats


def whole_batch_step(
    engine: DeepSpeedEngine,
    micro_batches: Sequence[PackedBatch],
    seeds: Sequence[int],
    weighting: Weighting,
    sources: int,
    use_margin: bool,
) -> SourceStats | None:
    """One optimizer step with one lam for all of its micro-batches, and so two forward passes.

    Args:
        seeds: of the dropout of each micro-batch, which is the same in both passes.

    Returns:
        Statistics of the whole batch on rank 0, None on the others.
    """
    parts = []
    for batch, seed in zip(micro_batches, seeds, strict=True):
        torch.manual_seed(seed)
        with torch.no_grad():
            parts.append(forward(engine, batch, sources, use_margin)[1])
    weight_K, stats = pair_weights(torch.stack(parts).sum(dim=0), weighting, "batch")  # (9)
    for batch, seed in zip(micro_batches, seeds, strict=True):
        torch.manual_seed(seed)
        loss_N, _ = forward(engine, batch, sources, use_margin)
        # (7) is a sum over the micro-batches; the engine averages over them.
        engine.backward(len(micro_batches) * (weight_K[batch.source_N] * loss_N).sum())
        engine.step()
    return stats


def forward(
    engine: DeepSpeedEngine, batch: PackedBatch, sources: int, use_margin: bool
) -> tuple[Tensor, Tensor]:
    """The ranking loss of each pair, and for each source the sums that lam is solved from.

    Returns:
        `loss_N`, and `sums_KC` without autograd history: the head gradient, loss, correct pairs,
        tokens and pairs of each source, summed over this rank's pairs.
    """
    reward_N2, head_inputs = engine(batch)
    delta_N = reward_N2[:, 0] - reward_N2[:, 1]
    if use_margin:
        delta_N = delta_N - batch.margin_N
    loss_N = ranking_loss(delta_N)  # (1)
    with torch.no_grad():
        grad_KH = engine.module.gradient_sums(head_inputs, delta_N, batch.source_N, sources)
        column_N4 = torch.stack(
            [loss_N, (delta_N > 0).float(), batch.tokens_N, torch.ones_like(loss_N)], dim=1
        )
        sums_KC = torch.cat([grad_KH, sum_by_source(column_N4, batch.source_N, sources)], dim=1)
    return loss_N, sums_KC
