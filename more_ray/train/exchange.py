"""How ranks agree on lam: one reduce to rank 0, one broadcast from it.

A loss or gradient that is not finite makes lam NaN, and with it the gradient on every rank, so that
all optimizers leave the step out without another word between ranks.

Legend: K sources, H numbers of the head, C = H + 4 columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from more_ray.objective.weighting import Weighting, gram


@dataclass(frozen=True)
class SourceStats:
    """What rank 0 learns of a micro-batch; arrays over the K sources."""

    lam_K: np.ndarray
    count_K: np.ndarray
    tokens_K: np.ndarray
    loss_K: np.ndarray
    accuracy_K: np.ndarray
    grad_norm_K: np.ndarray
    cosine_KK: np.ndarray
    finite_K: np.ndarray
    """Whether a source's loss and head gradient are finite; where one is not, lam is NaN."""

    @property
    def loss(self) -> float:
        """The weighted loss (7)."""
        return float(self.lam_K @ self.loss_K)


Decision = TypeVar("Decision")


def of_first_rank(decide: Callable[[], Decision]) -> Decision:
    """What rank 0 decides, on every rank."""
    decision = [decide() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(decision, src=0)
    return cast(Decision, decision[0])


def solve(sums_KC: Tensor, weighting: Weighting) -> tuple[Tensor, SourceStats]:
    """lam from sums over all pairs of a micro-batch.

    Args:
        sums_KC: `[K, H + 4]`: the head gradient, loss, correct pairs, tokens and pairs of each
            source.

    Returns:
        `lam_K / count_K`, the weight of each pair of a source, and the statistics.
    """
    grad_KH, column_K4 = sums_KC[:, :-4], sums_KC[:, -4:]
    # The one wait for the device before the update (the DPO loss has some of its own).
    on_host_KC = torch.cat([gram(grad_KH), column_K4.double()], dim=1).cpu().numpy()
    gram_KK, column_K4 = on_host_KC[:, :-4], on_host_KC[:, -4:]
    finite_K = np.isfinite(gram_KK.diagonal()) & np.isfinite(column_K4).all(axis=1)
    loss_K, correct_K, tokens_K, count_K = column_K4.T
    pairs_K = np.maximum(count_K, 1)
    gram_KK, loss_K = gram_KK / np.outer(pairs_K, pairs_K), loss_K / pairs_K
    if finite_K.all():
        lam_K = weighting.weights(gram_KK, loss_K, count_K, grad_KH)
    else:
        lam_K = np.full(len(finite_K), np.nan)
    norm_K = np.sqrt(gram_KK.diagonal())
    scale_K = np.where(norm_K > 0, norm_K, 1)
    stats = SourceStats(
        lam_K=lam_K,
        count_K=count_K,
        tokens_K=tokens_K,
        loss_K=loss_K,
        accuracy_K=correct_K / pairs_K,
        grad_norm_K=norm_K,
        cosine_KK=gram_KK / np.outer(scale_K, scale_K),
        finite_K=finite_K,
    )
    return torch.from_numpy(lam_K / pairs_K).to(sums_KC), stats


def pair_weights(
    sums_KC: Tensor, weighting: Weighting, scope: str
) -> tuple[Tensor, SourceStats | None]:
    """The weight of a pair of each source, `[K]`, for a gradient that is averaged over ranks.

    With `scope: rank` each rank solves from its own pairs. Otherwise lam is solved once, on rank
    0, from the sums of all ranks, so that it is the same on any number of ranks. Rank 0 gets the
    statistics of what it solved, the others None.
    """
    first = dist.get_rank() == 0
    if scope == "rank":
        weight_K, stats = solve(sums_KC, weighting)
        return weight_K, stats if first else None
    dist.reduce(sums_KC, dst=0)
    if first:
        weight_K, stats = solve(sums_KC, weighting)
    else:
        weight_K, stats = sums_KC.new_empty(len(sums_KC)), None
    dist.broadcast(weight_K, src=0)
    return weight_K * dist.get_world_size(), stats
