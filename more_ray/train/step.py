"""The algorithm: one micro-step of MORE.

Legend: N pairs of this rank's micro-batch, K sources, H hidden size, C = H + 4 columns.
"""

from __future__ import annotations

import torch
from deepspeed import DeepSpeedEngine

from more_ray.data.packing import PackedBatch
from more_ray.objective.ranking import head_gradient_sums, ranking_loss, sum_by_source
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
    reward_N2, z_N2H = engine(batch)
    delta_N = reward_N2[:, 0] - reward_N2[:, 1]
    if use_margin:
        delta_N = delta_N - batch.margin_N
    loss_N = ranking_loss(delta_N)  # (1)

    with torch.no_grad():
        z_chosen_NH, z_rejected_NH = z_N2H.unbind(dim=1)
        grad_KH = head_gradient_sums(delta_N, z_chosen_NH, z_rejected_NH, batch.source_N, sources)
        column_N4 = torch.stack(
            [loss_N, (delta_N > 0).float(), batch.tokens_N, torch.ones_like(loss_N)], dim=1
        )
        sums_KC = torch.cat([grad_KH, sum_by_source(column_N4, batch.source_N, sources)], dim=1)
        weight_K, stats = pair_weights(sums_KC, weighting, scope)  # (9)

    loss = (weight_K[batch.source_N] * loss_N).sum()  # (7)
    engine.backward(loss)
    engine.step()
    return stats
