"""The sums that lam is solved from, over the pairs of each source; ranks send them as one tensor.

Legend: N pairs, K sources, H numbers of the head (none where a loss makes no head gradients),
C columns: H and the number of the other sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from more_ray.objective.ranking import sum_by_source
from more_ray.objective.weighting import gram

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SourceSums:
    """Sums over the pairs of each source, in fp32, without autograd history.

    To add a sum, add a field here and a keyword where the losses call `of`.
    """

    grad_KH: Tensor
    square_K: Tensor
    """Of the squared norms of the pairs' own head gradients; 0 where a loss makes none."""
    loss_K: Tensor
    correct_K: Tensor
    tokens_K: Tensor
    count_K: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, grad_KH: Tensor, square_K: Tensor, source_N: Tensor, **value_N: Tensor) -> Self:
        """Sum the values of the pairs, given by the names of the sums; pairs are counted here.

        Args:
            grad_KH, square_K: sums already.
            source_N: the source that each pair belongs to.
        """
        value_N["count_K"] = torch.ones_like(value_N["loss_K"])
        column_NC = torch.stack([value_N[name] for name in cls.columns()[1:]], dim=1)
        column_KC = sum_by_source(column_NC, source_N, len(grad_KH))
        return cls(grad_KH, square_K, *column_KC.unbind(dim=1))

    @classmethod
    def columns(cls) -> list[str]:
        """The names of the sums with one number per source, in the order in which they are sent."""
        return [field.name for field in fields(cls)][1:]

    def pack(self) -> Tensor:
        """All sums as one tensor `[K, C]`, so that one reduce is enough."""
        return self._with_columns(self.grad_KH)

    @classmethod
    def unpack(cls, packed_KC: Tensor) -> Self:
        """The inverse of `pack`, as views."""
        count = len(cls.columns())
        return cls(packed_KC[:, :-count], *packed_KC[:, -count:].unbind(dim=1))

    @classmethod
    def total(cls, parts: Sequence[SourceSums]) -> Self:
        """The sums over several micro-batches."""
        return cls.unpack(torch.stack([part.pack() for part in parts]).sum(dim=0))

    def on_host(self) -> tuple[Floats, dict[str, Floats]]:
        """The inner products of the gradients, `[K, K]`, and the other sums by name, in float64.

        Waits for the device once.
        """
        host = self._with_columns(gram(self.grad_KH)).cpu().numpy()
        gram_KK, column_KC = np.split(host, [len(host)], axis=1)
        return gram_KK, dict(zip(self.columns(), column_KC.T, strict=True))

    def _with_columns(self, matrix_K: Tensor) -> Tensor:
        column_KC = torch.stack([getattr(self, name) for name in self.columns()], dim=1)
        return torch.cat([matrix_K, column_KC.to(matrix_K.dtype)], dim=1)


@dataclass(frozen=True)
class WeightedSums(SourceSums):
    """The same of pairs with weights w, all but tokens and counts times w.

    Runs without weights do not send these two.
    """

    weight_K: Tensor
    """Of w."""
    weight2_K: Tensor
    """Of w^2."""
