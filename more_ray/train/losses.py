"""The losses of a micro-batch, and the sums that lam is solved from.

Legend: N pairs of this rank's micro-batch, K sources, H numbers of the head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from more_ray.data.packing import PackedBatch
from more_ray.objective.ranking import ranking_loss, ranking_slope
from more_ray.train.sums import SourceSums, WeightedSums


class Batch(Protocol):
    """Pairs, in whatever form the model takes them."""

    @property
    def source_N(self) -> Tensor: ...
    @property
    def margin_N(self) -> Tensor: ...
    @property
    def tokens_N(self) -> Tensor: ...
    @property
    def share_N(self) -> Tensor | None: ...
    @property
    def weight_N(self) -> Tensor | None: ...


class Engine(Protocol):
    """What steps and losses need: a `DeepSpeedEngine`, or `frozen.HeadEngine`."""

    @property
    def module(self) -> Any: ...
    @property
    def global_steps(self) -> int: ...
    def __call__(self, batch: Any, /) -> tuple[Tensor, Any]: ...
    def backward(self, loss: Tensor, /) -> Any: ...
    def step(self) -> None: ...
    def was_step_applied(self) -> bool: ...


Losses = Callable[[Engine, Any], tuple[Tensor, SourceSums]]
"""Runs the forward pass; returns `loss_N`, times the pairs' weights, and the sums over this rank's
pairs."""


@dataclass(frozen=True)
class RankingLosses:
    """The ranking loss of each pair; half of a tie counts as correct."""

    sources: int
    use_margin: bool

    def __call__(self, engine: Engine, batch: Batch) -> tuple[Tensor, SourceSums]:
        reward_N2, head_inputs = engine(batch)
        delta_N = reward_N2[:, 0] - reward_N2[:, 1]
        correct_N = (delta_N > 0).float()
        if batch.share_N is not None:
            correct_N = torch.where(batch.share_N == 0.5, 0.5, correct_N)
        if self.use_margin:
            delta_N = delta_N - batch.margin_N
        loss_N = weighted(ranking_loss(delta_N, batch.share_N), batch)  # (1)
        with torch.no_grad():
            slope_N = weighted(ranking_slope(delta_N, batch.share_N), batch)
            grad_KH, square_K = engine.module.gradient_sums(
                head_inputs, slope_N, batch.source_N, self.sources
            )
        return loss_N, sums_of(batch, grad_KH, square_K, loss_N, weighted(correct_N, batch))


@dataclass(frozen=True)
class AnswerLosses:
    """The negative log-likelihood of each chosen answer.

    There are no head gradients (H = 0), so lam cannot be solved for. `correct_K` sums, over the
    answers, the share of tokens that the model found most likely.
    """

    sources: int

    def __call__(self, engine: Engine, batch: PackedBatch) -> tuple[Tensor, SourceSums]:
        loss_N, right_N = engine(batch)[0].unbind(dim=1)  # (3)
        loss_N = weighted(loss_N, batch)
        correct_N = weighted(right_N / batch.layout.own_A, batch)
        no_grad_KH, zero_K = loss_N.new_empty(self.sources, 0), loss_N.new_zeros(self.sources)
        return loss_N, sums_of(batch, no_grad_KH, zero_K, loss_N, correct_N)


def weighted(value_N: Tensor, batch: Batch) -> Tensor:
    """The values times the weights of their pairs, where they have any."""
    return value_N if batch.weight_N is None else batch.weight_N * value_N


def sums_of(
    batch: Batch, grad_KH: Tensor, square_K: Tensor, loss_N: Tensor, correct_N: Tensor
) -> SourceSums:
    """The sums over the pairs of a batch, of values that are weighted already."""
    values_N = {"loss_K": loss_N, "correct_K": correct_N, "tokens_K": batch.tokens_N}
    if batch.weight_N is None:
        return SourceSums.of(grad_KH, square_K, batch.source_N, **values_N)
    values_N |= {"weight_K": batch.weight_N, "weight2_K": batch.weight_N.square()}
    return WeightedSums.of(grad_KH, square_K, batch.source_N, **values_N)
