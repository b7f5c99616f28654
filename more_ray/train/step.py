"""The algorithm: one step of MORE.

Legend: N pairs of this rank's micro-batch, K sources.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from more_ray.objective.weighting import Weighting
from more_ray.train.exchange import SourceStats, pair_weights
from more_ray.train.losses import Batch, Engine, Losses


def micro_step(
    engine: Engine,
    batch: Batch,
    weighting: Weighting,
    scope: str,
    losses: Losses,
) -> SourceStats | None:
    """Forward, lam, weighted loss, backward; the optimizer steps at accumulation boundaries, unless
    a loss or gradient since the last boundary is not finite.

    Returns:
        Statistics of the micro-batch on rank 0, None on the others.
    """
    loss_N, sums = losses(engine, batch)
    weight_K, stats = pair_weights(sums, weighting, scope)  # (9)
    loss = (weight_K[batch.source_N] * loss_N).sum()  # (7)
    engine.backward(loss)
    engine.step()
    return stats


def whole_batch_step(
    engine: Engine,
    micro_batches: Sequence[Batch],
    seeds: Sequence[int],
    weighting: Weighting,
    losses: Losses,
) -> SourceStats | None:
    """One optimizer step with a single lam for all its micro-batches, so two forward passes.

    Args:
        seeds: dropout seed of each micro-batch; both passes use the same.

    Returns:
        Statistics of the whole batch on rank 0, None on the others.
    """
    parts = []
    for batch, seed in zip(micro_batches, seeds, strict=True):
        torch.manual_seed(seed)
        with torch.no_grad():
            parts.append(losses(engine, batch)[1])
    weight_K, stats = pair_weights(type(parts[0]).total(parts), weighting, "batch")  # (9)
    for batch, seed in zip(micro_batches, seeds, strict=True):
        torch.manual_seed(seed)
        loss_N, _ = losses(engine, batch)
        # (7) is a sum over the micro-batches; the engine averages over them.
        engine.backward(len(micro_batches) * (weight_K[batch.source_N] * loss_N).sum())
        engine.step()
    return stats
