"""How ranks agree on lam: one reduce to rank 0, one broadcast from it.

A loss or gradient that is not finite makes lam NaN, and with it the gradient on every rank, so that
all optimizers skip the step without further communication.

Legend: K sources, C columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from more_ray.objective.noise import sampling_noise
from more_ray.objective.weighting import Weighting
from more_ray.train.sums import SourceSums


@dataclass(frozen=True)
class SourceStats:
    """The statistics of a micro-batch, on rank 0; arrays over the K sources."""

    lam_K: np.ndarray
    count_K: np.ndarray
    tokens_K: np.ndarray
    loss_K: np.ndarray
    accuracy_K: np.ndarray
    grad_norm_K: np.ndarray
    noise_share_K: np.ndarray
    """The share of a squared gradient norm that is sampling noise: above 1 where the estimate of
    the rest is negative, NaN where a source has fewer than two pairs or no gradient."""
    cosine_KK: np.ndarray
    finite_K: np.ndarray
    """Whether a source's loss and head gradient are finite; if any is not, lam is NaN."""

    @property
    def loss(self) -> float:
        """The weighted loss (7)."""
        return float(self.lam_K @ self.loss_K)


Decision = TypeVar("Decision")


def of_first_rank(decide: Callable[[], Decision]) -> Decision:
    """Call `decide` on rank 0; returns its result on every rank."""
    decision = [decide() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(decision, src=0)
    return cast(Decision, decision[0])


def solve(sums: SourceSums, weighting: Weighting) -> tuple[Tensor, SourceStats]:
    """Solve for lam, from sums over the pairs of a micro-batch.

    A mean over a source's pairs with weights w is `sum w x / sum w`: a source counts lam, whatever
    the size of its weights. Its sampling noise is that of `(sum w)^2 / sum w^2` equal pairs (Kish).

    Returns:
        `lam_K / sum w`, by which the pairs of a source are multiplied besides w, and the
        statistics.
    """
    # The only wait for the device before the update (the DPO loss adds more).
    gram_KK, sum_K = sums.on_host()
    finite_K = np.logical_and.reduce(np.isfinite([gram_KK.diagonal(), *sum_K.values()]))
    count_K = sum_K["count_K"]
    weight_K, weight2_K = (sum_K.get(name, count_K) for name in ("weight_K", "weight2_K"))
    pairs_K, squares_K = (np.where(count_K > 0, one, 1) for one in (weight_K, weight2_K))
    gram_KK, loss_K = gram_KK / np.outer(pairs_K, pairs_K), sum_K["loss_K"] / pairs_K
    norm2_K = gram_KK.diagonal()
    effective_K = np.where(count_K > 1, weight_K**2 / squares_K, count_K)
    noise_K = sampling_noise(norm2_K, sum_K["square_K"] / squares_K, effective_K)
    if finite_K.all():
        lam_K = weighting.weights(gram_KK, noise_K, loss_K, weight_K, sums.grad_KH)
    else:
        lam_K = np.full(len(finite_K), np.nan)
    norm_K = np.sqrt(norm2_K)
    scale_K = np.where(norm_K > 0, norm_K, 1)
    stats = SourceStats(
        lam_K=lam_K,
        count_K=count_K,
        tokens_K=sum_K["tokens_K"],
        loss_K=loss_K,
        accuracy_K=sum_K["correct_K"] / pairs_K,
        grad_norm_K=norm_K,
        noise_share_K=noise_K / np.where(norm2_K > 0, norm2_K, np.nan),
        cosine_KK=gram_KK / np.outer(scale_K, scale_K),
        finite_K=finite_K,
    )
    return torch.from_numpy(lam_K / pairs_K).to(sums.loss_K), stats


def pair_weights(
    sums: SourceSums, weighting: Weighting, scope: str
) -> tuple[Tensor, SourceStats | None]:
    """The weight of each pair of a source, `[K]`, for a gradient that is averaged over ranks.

    With `scope: rank` each rank solves from its own pairs. Otherwise lam is solved once, on rank
    0, from the sums of all ranks, so that it is the same on any number of ranks. The statistics
    are those of rank 0's solve; other ranks get None.
    """
    first = dist.get_rank() == 0
    if scope == "rank":
        weight_K, stats = solve(sums, weighting)
        return weight_K, stats if first else None
    packed_KC = sums.pack()
    dist.reduce(packed_KC, dst=0)
    if first:
        weight_K, stats = solve(type(sums).unpack(packed_KC), weighting)
    else:
        weight_K, stats = sums.loss_K.new_empty(len(sums.loss_K)), None
    dist.broadcast(weight_K, src=0)
    return weight_K * dist.get_world_size(), stats
