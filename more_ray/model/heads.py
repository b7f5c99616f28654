"""Several reward heads on one trunk: a shared one and a drift for each source, equation (4).

Legend: N pairs, K sources, H hidden size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel


class Drifts(nn.Module):
    """What each source's reward adds to the shared one: `z d_i`, nothing at first."""

    def __init__(self, sources: int, hidden_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(sources, hidden_size, dtype=dtype))

    def forward(self, z_N2H: Tensor) -> Tensor:
        """`[N, 2, K]` in fp32, as the shared head computes."""
        return F.linear(z_N2H.float(), self.weight.float())


class RewardHead(Protocol):
    """A `RewardModel`, or `frozen.FrozenTrunk`."""

    training: bool

    @property
    def score_head(self) -> nn.Linear: ...
    @property
    def trained(self) -> PreTrainedModel: ...
    def __call__(self, batch: Any, /) -> tuple[Tensor, Tensor]: ...
    def gradient_sums(
        self, z_N2H: Tensor, slope_N: Tensor, source_N: Tensor, sources: int, /
    ) -> tuple[Tensor, Tensor]: ...


class DriftingRewardModel(nn.Module):
    """A reward model in which a pair is scored by the head of its own source, `z (w + d_i)`.

    The model's own `score` head is w.
    """

    def __init__(self, model: RewardHead, sources: int) -> None:
        super().__init__()
        self.model = model
        head = model.score_head.weight
        self.drifts = Drifts(sources, head.shape[1], head.dtype)
        self.train(model.training)

    def forward(self, batch: Any) -> tuple[Tensor, Tensor]:
        """As `RewardModel`; in evaluation the rewards are `[N, 2 (K + 1)]`, by every head.

        They are, for the chosen answer and then for the rejected one, the shared reward and each
        source's own.
        """
        shared_N2, z_N2H = self.model(batch)
        drift_N2K = self.drifts(z_N2H)
        if not self.training:
            own_N2K = shared_N2[..., None] + drift_N2K
            return torch.cat([shared_N2[..., None], own_N2K], dim=2).flatten(1), z_N2H
        own_N2 = drift_N2K.take_along_dim(batch.source_N[:, None, None], dim=2).squeeze(2)
        return shared_N2 + own_N2, z_N2H

    @property
    def trained(self) -> PreTrainedModel:
        """The model that is exported, with the shared head."""
        return self.model.trained

    @property
    def score_head(self) -> nn.Linear:
        """The shared head."""
        return self.model.score_head

    def gradient_sums(
        self, z_N2H: Tensor, slope_N: Tensor, source_N: Tensor, sources: int
    ) -> tuple[Tensor, Tensor]:
        """The sums for the shared head (8), with rewards by the own ones."""
        return self.model.gradient_sums(z_N2H, slope_N, source_N, sources)
